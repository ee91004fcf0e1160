"""Leases: a shared resource held for one phase of a run, counted by files that every node sees."""
