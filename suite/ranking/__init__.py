"""Statistics on tables of runs and values. Never torch."""
