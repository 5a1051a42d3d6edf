"""What a home agent can measure and control, and simulated devices on real profiles."""
