"""The launcher's keys: what a user asks of a launch."""
