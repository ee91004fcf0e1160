"""What a person asks for: cancel, hold, release, retry, gc."""
