"""Protocols that bring dr_events to the home."""
