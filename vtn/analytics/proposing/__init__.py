"""Events the forecasts call for: proposed, decided by people, brought to the ledger."""
