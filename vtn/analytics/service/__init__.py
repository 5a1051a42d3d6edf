"""Analytics that run in `serve`: forecasts for the aggregator, runs by the clock, the watch over them."""
