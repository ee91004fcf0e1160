"""Which attempt this process executes, its signals, and what it says in the log."""
