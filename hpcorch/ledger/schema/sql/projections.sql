-- Tables derived from events. They are dropped and made anew whenever the schema changes, never migrated.
-- Columns named created, planned and metrics are the seq of the event that holds the rest of the row's facts, so that
-- no JSON is stored twice.

DROP TABLE IF EXISTS sweeps;
DROP TABLE IF EXISTS tallies;
DROP TABLE IF EXISTS launches;
DROP TABLE IF EXISTS bases;
DROP TABLE IF EXISTS submissions;
DROP TABLE IF EXISTS runs;
DROP TABLE IF EXISTS attempts;

CREATE TABLE sweeps (
    sweep INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    name TEXT NOT NULL,
    backend TEXT NOT NULL,
    directory TEXT NOT NULL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    created_at TEXT NOT NULL,
    tags TEXT NOT NULL,                 -- JSON list
    state TEXT NOT NULL,
    runs INTEGER NOT NULL
);
CREATE INDEX sweeps_by_time ON sweeps (created_at);

-- How many runs of a sweep are in which state: kept, so that listing a million runs' sweeps counts nothing.
CREATE TABLE tallies (
    sweep INTEGER NOT NULL,
    state TEXT NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (sweep, state)
) WITHOUT ROWID;

CREATE TABLE launches (
    sweep INTEGER NOT NULL,
    launch INTEGER NOT NULL,
    planned INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (sweep, launch)
) WITHOUT ROWID;

CREATE TABLE bases (
    sweep INTEGER NOT NULL,
    launch INTEGER NOT NULL,
    base INTEGER NOT NULL,
    planned INTEGER NOT NULL,
    PRIMARY KEY (sweep, launch, base)
) WITHOUT ROWID;

CREATE TABLE submissions (
    sweep INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    launch INTEGER NOT NULL,
    runs TEXT NOT NULL,                 -- array index i is the i-th of these, 0-4,7; of a script it is the run
    token TEXT NOT NULL,
    backend TEXT NOT NULL,
    script TEXT NOT NULL,
    state TEXT NOT NULL,
    intended_at TEXT NOT NULL,
    job_id TEXT,
    cluster TEXT,
    reason TEXT,
    keeper TEXT,
    tasks INTEGER,                      -- of a packed array: its elements, which take the runs one by one
    form TEXT NOT NULL,                 -- tasks, script-array or script-job: how an array index names a run
    lowest INTEGER NOT NULL,            -- of its runs
    highest INTEGER NOT NULL,
    cancellations TEXT NOT NULL,        -- JSON list of [runs, user, checkpoint]: who asked to cancel which of its runs
    PRIMARY KEY (sweep, submission)
) WITHOUT ROWID;

CREATE TABLE runs (
    sweep INTEGER NOT NULL,
    run INTEGER NOT NULL,
    planned INTEGER NOT NULL,
    launch INTEGER NOT NULL,
    state TEXT NOT NULL,
    job_id TEXT,
    submission INTEGER,
    attempts INTEGER NOT NULL,
    node TEXT,
    started_at TEXT,
    ended_at TEXT,
    exit_code INTEGER,
    reason TEXT,
    reused_from TEXT,                   -- SWEEP/RUN whose result it took over instead of being executed
    result TEXT,                        -- JSON
    error TEXT,
    log TEXT,
    metrics INTEGER,                    -- of the latest summary
    lingers INTEGER NOT NULL,           -- 1 if it is over, and its process or job was seen after that
    digest BLOB NOT NULL,               -- of the other columns: a row edited by hand shows without a fold
    PRIMARY KEY (sweep, run)
) WITHOUT ROWID;
CREATE INDEX runs_by_state ON runs (sweep, state);

CREATE TABLE attempts (
    sweep INTEGER NOT NULL,
    run INTEGER NOT NULL,
    submission INTEGER NOT NULL,
    restart INTEGER NOT NULL,
    state TEXT NOT NULL,
    job_id TEXT,
    node TEXT,
    pid INTEGER,
    started_at TEXT,
    ended_at TEXT,
    exit_code INTEGER,
    signal TEXT,
    slurm_state TEXT,
    reason TEXT,
    seed INTEGER,
    log TEXT,
    log_start INTEGER,
    log_end INTEGER,
    result TEXT,                        -- JSON
    error TEXT,
    restored_from TEXT,                 -- the attempt whose checkpoint this one goes on from
    restored_step INTEGER,
    checkpoint_step INTEGER,            -- of the last one that it saved
    checkpoint TEXT,                    -- its file, relative to the sweep directory
    job_restart INTEGER,                -- of a packed task that executed it
    digest BLOB NOT NULL,               -- as in runs
    PRIMARY KEY (sweep, run, submission, restart)
) WITHOUT ROWID;
