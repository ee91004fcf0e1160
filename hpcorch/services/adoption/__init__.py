"""Taking sweep directories into a ledger that does not know them, such as a new one in the place of a lost one."""
