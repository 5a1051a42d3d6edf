"""Virtual nodes: how they are formed, what they know of their members, and the agent that acts for each."""
