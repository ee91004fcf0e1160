"""What the answers of squeue and sacct mean. All but ``hidden_causes``, which reads logs, is pure."""
