-- When a ledger was made in the place of one that was lost: one row, as long as sweeps of that one may be missing. No
-- event, since nothing happened to a sweep. Applied once, by migration 7.

CREATE TABLE made_anew (
    time TEXT NOT NULL
);
