"""A home as a mixed-integer programme in PuLP, its solver, and the way back to whole Wh."""
