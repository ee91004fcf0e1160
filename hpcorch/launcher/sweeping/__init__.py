"""What ``hydra/sweeper=hpcorch`` makes of a command line: the runs of a sweep."""
