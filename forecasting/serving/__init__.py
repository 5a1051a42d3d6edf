"""Models of days as panel models: when they train, what serves where they cannot, their bands, the day so far."""
