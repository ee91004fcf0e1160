"""The ledger as a file: connection, tables, migrations, named queries, copies."""
