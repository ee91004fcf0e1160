"""The user's function and configuration, loaded from what was frozen, and the call."""
