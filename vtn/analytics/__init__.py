"""Forecasts, tests on history and clusters for the aggregator: where data come from, what runs them, what is kept."""
