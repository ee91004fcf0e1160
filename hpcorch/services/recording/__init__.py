"""Putting a sweep on disk, with frozen code and environment."""
