"""From events to what they mean: runs, attempts, sweeps and submissions, by pure functions of a set of events."""
