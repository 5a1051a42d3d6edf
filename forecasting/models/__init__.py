"""The models behind one interface: fit, forecast, update. Each is named in `catalogue`."""
