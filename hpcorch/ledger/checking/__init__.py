"""Whether a ledger is whole: its file, its chain, its tables, and the locks that it relies on."""
