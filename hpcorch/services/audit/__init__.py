"""Evidence: what produced a result, and whether everything is as it was recorded."""
