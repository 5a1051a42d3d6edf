"""When the devices of a home run, at least cost and within its limits; homes behind one feeder: numbers only."""
