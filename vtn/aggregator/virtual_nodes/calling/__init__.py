"""Which members are called, when and for how long: the options of each, the choice among them, its contracts."""
