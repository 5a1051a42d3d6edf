"""What a home can shift, how surely it answers, and how often it may be asked. Standard library only."""
