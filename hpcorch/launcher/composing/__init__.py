"""From overrides to the frozen configuration of each run."""
