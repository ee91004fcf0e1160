"""One attempt of a run in order: claim, verify, seed, call, end; and its requeue."""
