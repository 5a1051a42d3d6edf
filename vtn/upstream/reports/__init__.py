"""Reports to the utility: sums over at least five homes, what was asked for, and every interval until it is there."""
