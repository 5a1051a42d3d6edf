"""The home's side of the ledger: its key, its enrolment, the contracts it accepts, the payments it verified."""
