"""Forecasts of load and generation: pure numeric models, no I/O."""
