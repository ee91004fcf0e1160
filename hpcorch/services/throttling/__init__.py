"""Sharing counted resources over all arrays of a user, by their throttles."""
