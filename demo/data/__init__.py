"""Real homes for the demo: an extract, the script that cut it and its reader."""
