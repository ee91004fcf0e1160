"""What ``hpcorch.current_run()`` gives: seeds, metrics, epochs, inputs, checkpoints of one run."""
