"""Members of a virtual node: what is known of each before it is called."""
