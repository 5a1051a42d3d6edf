"""Many series at once: arrays of homes by time, their cleaning, their weather and their forecasts. Needs numpy."""
