"""Protocol faces: each speaks one protocol on the same services and knows nothing of the aggregator."""
