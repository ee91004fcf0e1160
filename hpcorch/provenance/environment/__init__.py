"""The environment of a run: what is recorded of it, and how two records differ."""
