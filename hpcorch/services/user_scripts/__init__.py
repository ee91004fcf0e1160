"""``hpcorch sbatch``: a user's own batch script, with the record of a sweep."""
