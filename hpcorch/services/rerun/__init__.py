"""Running recorded runs again with the code as it is now, as a sweep of their own that says what it repeats."""
