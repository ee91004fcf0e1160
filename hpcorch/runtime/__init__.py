"""What runs inside a job: ``python -m hpcorch.runtime SWEEP_DIR`` claims a run, verifies, seeds, calls, ends.

Nothing here opens the ledger: a compute node appends to the journal of its attempt and to nothing else.
"""
