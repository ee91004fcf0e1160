"""A checkpoint as a file: named, saved, read, verified, removed."""
