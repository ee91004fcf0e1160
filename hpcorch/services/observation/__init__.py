"""What the answers of squeue and sacct mean. Pure decisions."""
