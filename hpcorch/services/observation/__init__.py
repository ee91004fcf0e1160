"""What answers of squeue and sacct are taken to mean. Pure decisions."""
