"""The client that asks through pyslurm where it suits the cluster."""
