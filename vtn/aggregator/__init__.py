"""The aggregator: decides whom to call, on the ledger; knows no protocol."""
