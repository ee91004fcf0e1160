"""``hpcorch doctor``: checks the cluster, the profile, the folder and the nodes."""
