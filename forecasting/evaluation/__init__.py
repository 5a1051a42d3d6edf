"""How good models are on history, which one is chosen, and when the chosen one stops being good."""
