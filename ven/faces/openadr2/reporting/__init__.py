"""EiReport as a home: its own reports of energy and state, and those it takes from the VTN."""
