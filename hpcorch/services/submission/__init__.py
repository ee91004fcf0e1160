"""Giving arrays to Slurm exactly once: cutting, feeding, submitting, settling."""
