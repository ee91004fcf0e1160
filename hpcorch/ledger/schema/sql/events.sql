-- The part of the ledger that is the truth: events, and what names them. Applied once, by migration 1.

-- A sweep's short key. Ids of 20 characters would otherwise stand in every row of every table.
CREATE TABLE sweep_ids (
    sweep INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    looked_at TEXT                      -- when its journals were last read; no event, since nothing happened
);

-- The files that events come from, and how far each has been read.
CREATE TABLE sources (
    source INTEGER PRIMARY KEY,
    sweep INTEGER NOT NULL REFERENCES sweep_ids (sweep),
    name TEXT NOT NULL,                 -- control | launch-<first run> | <run>.s<submission>.r<restart>
    offset INTEGER NOT NULL DEFAULT 0,  -- bytes
    settled INTEGER NOT NULL DEFAULT 0, -- nothing more is expected
    UNIQUE (sweep, name)
);

-- Every fact, in the order in which it became known. hash = sha256(hash of seq - 1, content of this row).
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES sources (source),
    source_seq INTEGER NOT NULL,        -- with the source the event's identity
    sweep INTEGER NOT NULL,
    run INTEGER,                        -- NULL where the fact is about the whole sweep
    kind TEXT NOT NULL,
    time TEXT NOT NULL,
    body TEXT NOT NULL,                 -- JSON, ASCII
    hash BLOB NOT NULL,
    UNIQUE (source, source_seq)
);
CREATE INDEX events_of_run ON events (sweep, run) WHERE run IS NOT NULL;
CREATE INDEX events_of_sweep ON events (sweep) WHERE run IS NULL;

CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE (ABORT, 'events are append-only');
END;

CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE (ABORT, 'events are append-only');
END;

-- INSERT OR REPLACE deletes without asking the trigger above, so what it would replace is refused here.
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events)
    OR EXISTS (SELECT 1 FROM events WHERE source = NEW.source AND source_seq = NEW.source_seq)
BEGIN
    SELECT RAISE (ABORT, 'events are append-only');
END;
