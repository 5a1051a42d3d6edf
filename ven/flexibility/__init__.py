"""What this home says it can do, what it turned out to do, and what it says after that."""
