"""Runs as processes of this machine, on slots of CPUs and GPUs."""
