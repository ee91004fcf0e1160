"""The code of a run: which files it consists of, how they are frozen, unpacked and compared."""
