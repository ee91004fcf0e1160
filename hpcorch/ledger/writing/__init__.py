"""What is written to the ledger: events into the chain, and the tables folded from them."""
