"""`dr-vtn forecast`, `backtest`, `cluster` and `forecasts`: analytics on files or on what homes reported."""
