"""Which homes are a virtual node: first groups, who joins, who moves and why, and how a group ends."""
