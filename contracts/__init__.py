"""The rules of the ledger: pure functions on integers, the same result on every replica."""
