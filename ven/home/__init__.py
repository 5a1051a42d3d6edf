"""The home itself: what is stored, what the owner allows, when the device acts and what its meter says."""
