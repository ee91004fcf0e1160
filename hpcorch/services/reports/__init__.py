"""What the ledger tells about sweeps and runs, as values for front ends to render."""
