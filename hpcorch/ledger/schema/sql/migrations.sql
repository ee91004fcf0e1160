-- Which migrations a ledger has had. sqlite-utils reads it; it is made here, so that each byte of it is known.

CREATE TABLE _sqlite_migrations (
    id INTEGER PRIMARY KEY,
    migration_set TEXT NOT NULL,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL,           -- left empty: nobody asks, and it could be altered unseen
    UNIQUE (migration_set, name)
);
