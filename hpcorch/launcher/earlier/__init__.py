"""What a launch finds: results to take over, a sweep in its directory, a sweep to add runs to."""
