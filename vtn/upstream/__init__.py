"""The aggregator as a VEN of a utility's VTN: its events become needs, reports of the whole go up."""
