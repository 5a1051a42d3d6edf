"""Forecast models, their error bands and their tests on history: pure numbers, no input or output."""
