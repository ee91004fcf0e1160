-- Views for people: open the ledger with `hpcorch query`, `sqlite-utils` or datasette and ask these.
-- In all of them `sweep` is the sweep's id and `run` the run's index; times are UTC text that sorts, results are
-- numbers or text where the task returned one, else JSON.
--
--   v_sweeps     one row a sweep: state, how many runs in all, completed, failed, alive
--   v_runs       one row a run: state, params (JSON), result, duration_s, node, attempts, seed
--   v_params     one row a run and swept parameter: for GROUP BY key, value
--   v_attempts   one row an execution: how it ended, where, its part of the log file
--   v_failures   runs that ended otherwise than COMPLETED, with error, reason, log
--   v_submissions  one row an sbatch call or local pool: job id, state, runs
--   v_events     the log itself, with names instead of keys

DROP VIEW IF EXISTS v_sweeps;
DROP VIEW IF EXISTS v_params;
DROP VIEW IF EXISTS v_failures;
DROP VIEW IF EXISTS v_runs;
DROP VIEW IF EXISTS v_attempts;
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
    json_extract(p.body, '$.params') AS params,
    json_extract(r.result, '$') AS result,
    round((julianday(r.ended_at) - julianday(r.started_at)) * 86400, 3) AS duration_s,
    r.node,
    r.attempts,
    json_extract(p.body, '$.seed') AS seed,
    r.job_id,
    r.started_at,
    r.ended_at,
    r.exit_code,
    r.reason,
    r.error,
    r.log,
    json_extract(p.body, '$.directory') AS directory,
    json_extract(p.body, '$.config_digest') AS config_digest
FROM runs AS r
JOIN sweep_ids AS i ON i.sweep = r.sweep
JOIN events AS p ON p.seq = r.planned
LEFT JOIN sweeps AS s ON s.sweep = r.sweep;

CREATE VIEW v_params AS
SELECT
    i.id AS sweep,
    r.run,
    r.state,
    json_extract(r.result, '$') AS result,
    param.key,
    param.value
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
    json_extract(a.result, '$') AS result,
    a.log,
    a.log_start,
    a.log_end
FROM attempts AS a JOIN sweep_ids AS i ON i.sweep = a.sweep;

CREATE VIEW v_failures AS
SELECT sweep, name, run, state, params, error, reason, exit_code, node, attempts, job_id, ended_at, log
FROM v_runs
WHERE state IN ('FAILED', 'TIMEOUT', 'OUT_OF_MEMORY', 'CANCELLED', 'NODE_FAIL', 'LOST');

CREATE VIEW v_submissions AS
SELECT i.id AS sweep, b.submission, b.batch, b.state, b.backend, b.job_id, b.runs, b.token, b.intended_at, b.reason
FROM submissions AS b JOIN sweep_ids AS i ON i.sweep = b.sweep;

CREATE VIEW v_events AS
SELECT e.seq, i.id AS sweep, o.name AS source, e.source_seq, e.run, e.kind, e.time, e.body, lower(hex(e.hash)) AS hash
FROM events AS e
JOIN sources AS o ON o.source = e.source
JOIN sweep_ids AS i ON i.sweep = e.sweep;
