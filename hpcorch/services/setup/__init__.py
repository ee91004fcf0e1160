"""``hpcorch init``: making a project ready."""
