"""Many homes behind one limit, coupled by prices: each answers by itself."""
