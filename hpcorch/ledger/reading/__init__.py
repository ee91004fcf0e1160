"""What the ledger answers: typed records, and users' own queries that cannot change anything."""
