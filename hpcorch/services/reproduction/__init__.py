"""Running a run again from what was frozen, and comparing the outcomes."""
