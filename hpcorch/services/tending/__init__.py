"""Bringing the ledger up to date with journals and Slurm, and doing what is due."""
