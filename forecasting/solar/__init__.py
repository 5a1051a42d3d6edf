"""Generation of photovoltaics, and how it ages."""
