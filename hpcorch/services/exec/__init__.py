"""``hpcorch exec``: a command with the record of a run."""
