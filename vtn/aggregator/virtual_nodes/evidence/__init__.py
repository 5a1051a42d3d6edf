"""What may be concluded from what homes report, do not report, and cannot have measured."""
