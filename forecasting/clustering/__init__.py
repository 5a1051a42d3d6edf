"""Which homes make a virtual node: what they are like, how they are grouped, and when one moves."""
