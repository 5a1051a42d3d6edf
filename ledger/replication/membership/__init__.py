"""The other members, seen from one replica: who succeeded whom (succession), and what their clocks say (clocks)."""
