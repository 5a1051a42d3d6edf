"""The aggregator: the OpenADR VTN, the dispatch cycle and settlement."""
