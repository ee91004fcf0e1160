"""``hpcorch doctor``: is all well with the cluster, the profile, the folder and the nodes?"""
