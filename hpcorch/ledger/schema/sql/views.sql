-- Views for people: open the ledger with `hpcorch query`, `sqlite-utils` or datasette and ask these.
-- In all of them `sweep` is the sweep's id and `run` the run's index; times are UTC text that sorts; results and values
-- of parameters are numbers or text where they are one, else JSON. nan is NULL, as everywhere in SQLite, so that
-- avg() and max() pass it over; an infinity is a number, in JSON 9e999. An integer of more than 64 bits is the text of
-- its digits, within JSON {"$int":"DIGITS"}.
--
--   v_sweeps     one row per sweep: state, how many runs, how many completed, failed, running, waiting
--   v_runs       one row per run: state, params (JSON), result, duration_s, node, attempts, seed
--   v_params     one row per run and swept parameter: for GROUP BY key, value
--   v_attempts   one row per attempt: how it ended, where, its part of the log file, the checkpoint it began from
--   v_failures   runs that are over and not COMPLETED, with error, reason, log
--   v_checkpoints  one row per saved checkpoint: attempt, step, file, size, state (kept, removed, broken)
--   v_metrics    one row per run and metric: last, lowest and highest value, each with its step
--   v_submissions  one row per sbatch call or local pool: job id, state, runs, keeper
--   v_events     every event, with names instead of keys

DROP VIEW IF EXISTS v_sweeps;
DROP VIEW IF EXISTS v_params;
DROP VIEW IF EXISTS v_failures;
DROP VIEW IF EXISTS v_runs;
DROP VIEW IF EXISTS v_attempts;
DROP VIEW IF EXISTS v_checkpoints;
DROP VIEW IF EXISTS v_metrics;
DROP VIEW IF EXISTS v_submissions;
DROP VIEW IF EXISTS v_events;

CREATE VIEW v_sweeps AS
SELECT
    s.id AS sweep,
    s.name,
    s.state,
    s.runs,
    coalesce(sum(t.runs) FILTER (WHERE t.state = 'COMPLETED'), 0) AS completed,
    coalesce(sum(t.runs) FILTER (
        WHERE t.state IN ('FAILED', 'TIMEOUT', 'OUT_OF_MEMORY', 'CANCELLED', 'NODE_FAIL', 'LOST')), 0) AS failed,
    coalesce(sum(t.runs) FILTER (WHERE t.state IN ('RUNNING', 'SUSPENDED')), 0) AS running,
    coalesce(sum(t.runs) FILTER (
        WHERE t.state IN ('PLANNED', 'UNCERTAIN', 'SUBMITTED', 'PENDING')), 0) AS waiting,
    s.created_at,
    s.backend,
    s.user,
    s.host,
    s.directory,
    s.tags
FROM sweeps AS s LEFT JOIN tallies AS t ON t.sweep = s.sweep
GROUP BY s.sweep;

CREATE VIEW v_runs AS
SELECT
    i.id AS sweep,
    s.name,
    r.run,
    r.state,
    {with_numbers json_extract(p.body, '$.params')} AS params,
    {value_of r.result} AS result,
    round((julianday(r.ended_at) - julianday(r.started_at)) * 86400, 3) AS duration_s,
    r.node,
    r.attempts,
    json_extract(p.body, '$.seed') AS seed,
    r.job_id,
    r.started_at,
    r.ended_at,
    r.exit_code,
    r.reason,
    r.reused_from,
    r.error,
    r.log,
    json_extract(p.body, '$.directory') AS directory,
    json_extract(p.body, '$.config_digest') AS config_digest,
    json_extract(p.body, '$.key') AS key
FROM runs AS r
JOIN sweep_ids AS i ON i.sweep = r.sweep
JOIN events AS p ON p.seq = r.planned
LEFT JOIN sweeps AS s ON s.sweep = r.sweep;

CREATE VIEW v_params AS
SELECT
    i.id AS sweep,
    r.run,
    r.state,
    {value_of r.result} AS result,
    param.key,
    CASE param.type WHEN 'object' THEN {value_of param.value} ELSE param.value END AS value
FROM runs AS r
JOIN sweep_ids AS i ON i.sweep = r.sweep
JOIN events AS p ON p.seq = r.planned
JOIN json_each(p.body, '$.params') AS param;

CREATE VIEW v_attempts AS
SELECT
    i.id AS sweep,
    a.run,
    a.submission,
    a.restart,
    a.state,
    a.job_id,
    a.node,
    a.started_at,
    a.ended_at,
    round((julianday(a.ended_at) - julianday(a.started_at)) * 86400, 3) AS duration_s,
    a.exit_code,
    a.signal,
    a.slurm_state,
    a.reason,
    a.error,
    {value_of a.result} AS result,
    a.log,
    a.log_start,
    a.log_end,
    a.restored_from,
    a.restored_step,
    a.checkpoint_step,
    a.checkpoint
FROM attempts AS a JOIN sweep_ids AS i ON i.sweep = a.sweep;

CREATE VIEW v_failures AS
SELECT sweep, name, run, state, params, error, reason, exit_code, node, attempts, job_id, ended_at, log
FROM v_runs
WHERE state IN ('FAILED', 'TIMEOUT', 'OUT_OF_MEMORY', 'CANCELLED', 'NODE_FAIL', 'LOST');

CREATE VIEW v_checkpoints AS
WITH removed AS (
    SELECT DISTINCT e.sweep, e.run, older.value AS file
    FROM events AS e JOIN json_each(e.body, '$.removed') AS older
    WHERE e.kind = 'checkpoint-saved'
),
broken AS (
    SELECT DISTINCT e.sweep, e.run, json_extract(e.body, '$.file') AS file
    FROM events AS e
    WHERE e.kind = 'checkpoint-rejected'
)
SELECT
    i.id AS sweep,
    e.run,
    CAST(substr(o.name, instr(o.name, '.s') + 2) AS INTEGER) AS submission,
    CAST(substr(o.name, instr(o.name, '.r') + 2) AS INTEGER) AS restart,
    json_extract(e.body, '$.step') AS step,
    json_extract(e.body, '$.file') AS file,
    json_extract(e.body, '$.size') AS size,
    json_extract(e.body, '$.digest') AS digest,
    json_extract(e.body, '$.seconds') AS seconds,
    e.time AS saved_at,
    CASE WHEN removed.file IS NOT NULL THEN 'removed' WHEN broken.file IS NOT NULL THEN 'broken' ELSE 'kept' END
        AS state
FROM events AS e
JOIN sweep_ids AS i ON i.sweep = e.sweep
JOIN sources AS o ON o.source = e.source
LEFT JOIN removed ON removed.sweep = e.sweep AND removed.run = e.run
    AND removed.file = json_extract(e.body, '$.file')
LEFT JOIN broken ON broken.sweep = e.sweep AND broken.run = e.run
    AND broken.file = json_extract(e.body, '$.file')
WHERE e.kind = 'checkpoint-saved';

CREATE VIEW v_metrics AS
SELECT
    i.id AS sweep,
    r.run,
    metric.key AS name,
    CASE json_extract(metric.value, '$.last[1]') WHEN 'inf' THEN 9e999 WHEN '-inf' THEN -9e999 WHEN 'nan' THEN NULL
        ELSE json_extract(metric.value, '$.last[1]') END AS last,
    json_extract(metric.value, '$.last[0]') AS last_step,
    json_extract(metric.value, '$.min[1]') AS min,
    json_extract(metric.value, '$.min[0]') AS min_step,
    json_extract(metric.value, '$.max[1]') AS max,
    json_extract(metric.value, '$.max[0]') AS max_step
FROM runs AS r
JOIN sweep_ids AS i ON i.sweep = r.sweep
JOIN events AS e ON e.seq = r.metrics
JOIN json_each(e.body, '$.metrics') AS metric;

CREATE VIEW v_submissions AS
SELECT
    i.id AS sweep,
    b.submission,
    b.launch,
    b.state,
    b.backend,
    b.job_id,
    b.runs,
    b.token,
    b.intended_at,
    b.reason,
    b.keeper,
    b.form
FROM submissions AS b JOIN sweep_ids AS i ON i.sweep = b.sweep;

CREATE VIEW v_events AS
SELECT e.seq, i.id AS sweep, o.name AS source, e.source_seq, e.run, e.kind, e.time, e.body, lower(hex(e.hash)) AS hash
FROM events AS e
JOIN sources AS o ON o.source = e.source
JOIN sweep_ids AS i ON i.sweep = e.sweep;
