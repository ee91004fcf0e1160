"""The ``hpcorch`` command line."""
