"""Who is called, when and with how much, at least cost and with a stated probability: numbers only, no I/O."""
