-- Everything the store asks, by name. Each query starts with a line `-- name: <name>`.

-- Writing: names and offsets ---------------------------------------------------------------------------------

-- name: sweep_key
SELECT sweep FROM sweep_ids WHERE id = ?

-- name: sweep_keys
SELECT sweep, id FROM sweep_ids ORDER BY sweep

-- name: add_sweep_key
INSERT INTO sweep_ids (id) VALUES (?)

-- name: set_looked_at
UPDATE sweep_ids SET looked_at = ? WHERE sweep = ?

-- name: source
SELECT source, offset, settled FROM sources WHERE sweep = ? AND name = ?

-- name: last_source
SELECT coalesce(max(source), 0) FROM sources

-- name: add_source
INSERT INTO sources (source, sweep, name) VALUES (?, ?, ?)

-- name: set_offset
UPDATE sources SET offset = ?, settled = max(settled, ?) WHERE source = ?

-- name: sources
SELECT name, offset FROM sources WHERE sweep = ? ORDER BY source

-- Writing: the ledger itself ---------------------------------------------------------------------------------

-- name: note_made_anew
INSERT INTO made_anew (time) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM made_anew)

-- name: forget_made_anew
DELETE FROM made_anew

-- name: made_anew
SELECT 1 FROM made_anew

-- Writing: events --------------------------------------------------------------------------------------------

-- name: head
SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1

-- The sequence numbers of a source that are known already, within a range.
-- name: known_events
SELECT source_seq FROM events WHERE source = ? AND source_seq BETWEEN ? AND ?

-- name: add_event
INSERT INTO events (seq, source, source_seq, sweep, run, kind, time, body, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- Folding ----------------------------------------------------------------------------------------------------

-- Of what the index events_of_run leaves out, an attempt tells only after it has claimed its run, so no run is missed.
-- name: runs_with_events
SELECT DISTINCT run FROM events
WHERE sweep = ? AND run > ? AND run <= ? AND run IS NOT NULL
    AND kind <> 'checkpoint-saved' AND kind <> 'checkpoint-failed' AND kind <> 'checkpoint-rejected'
    AND kind <> 'metrics-summarised'
ORDER BY run

-- Events of some runs (a JSON list) of some kinds (likewise) that were known up to a point. The runs drive. A plan's
-- body, the largest of all, is left out: rows of runs refer to it.
-- name: events_of_runs
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, CASE e.kind WHEN 'run-planned' THEN NULL ELSE e.body END
FROM json_each(?) AS wanted
CROSS JOIN events AS e ON e.sweep = ? AND e.run = wanted.value AND e.run IS NOT NULL
CROSS JOIN sources AS o ON o.source = e.source
WHERE e.seq <= ? AND e.kind IN (SELECT value FROM json_each(?))
    AND e.kind <> 'checkpoint-saved' AND e.kind <> 'checkpoint-failed' AND e.kind <> 'checkpoint-rejected'
    AND e.kind <> 'metrics-summarised'

-- Of each attempt of some runs the last checkpoint saved and the last summary of metrics, whose body the fold does not
-- need: rows of runs refer to it. An attempt's source is named <run>.s<submission>.r<restart>.
-- name: last_words_of_runs
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, CASE e.kind WHEN 'metrics-summarised' THEN NULL ELSE e.body END
FROM json_each(?) AS wanted
CROSS JOIN sources AS o ON o.sweep = ? AND o.name > wanted.value || '.s' AND o.name < wanted.value || '.t'
CROSS JOIN events AS e ON e.seq IN (
    (SELECT l.seq FROM events AS l
     WHERE l.sweep = o.sweep AND l.run = wanted.value AND l.source = o.source AND l.kind = 'checkpoint-saved'
     ORDER BY l.source_seq DESC LIMIT 1),
    (SELECT l.seq FROM events AS l
     WHERE l.sweep = o.sweep AND l.run = wanted.value AND l.source = o.source AND l.kind = 'metrics-summarised'
     ORDER BY l.source_seq DESC LIMIT 1))

-- What the login side decided about the sweep as a whole.
-- name: events_of_sweep
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM events AS e JOIN sources AS o ON o.source = e.source
WHERE e.sweep = ? AND e.run IS NULL AND o.name IN ('control', 'ledger')
ORDER BY o.name, e.source_seq

-- name: events_of_submissions
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM json_each(?) AS wanted
CROSS JOIN events AS e
    ON e.sweep = ? AND json_extract(e.body, '$.submission') = wanted.value AND e.run IS NULL
CROSS JOIN sources AS o ON o.source = e.source
WHERE o.name IN ('control', 'ledger')
ORDER BY o.name, e.source_seq

-- name: bases_of_sweep
SELECT CAST(substr(o.name, 8) AS INTEGER), json_extract(e.body, '$.base'), e.seq
FROM events AS e JOIN sources AS o ON o.source = e.source
WHERE e.sweep = ? AND e.run IS NULL AND e.kind = 'base-planned'
ORDER BY 1, 2

-- Submissions that may include runs with an index from one number through another.
-- name: submissions_around
SELECT submission, launch, runs, token, backend, script, state, intended_at, job_id, cluster, reason, keeper,
       tasks, form, cancellations
FROM submissions WHERE sweep = ? AND highest >= ? AND lowest <= ? ORDER BY submission

-- name: rows_of_runs
SELECT r.run, r.state, r.digest
FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.sweep = ? AND r.run = wanted.value

-- The first word on a sweep or a launch counts, in whatever order they arrive.
-- name: put_sweeps
INSERT INTO sweeps (sweep, id, created, name, backend, directory, user, host, created_at, tags, state, runs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sweep) DO UPDATE SET
    created = excluded.created, name = excluded.name, backend = excluded.backend, directory = excluded.directory,
    user = excluded.user, host = excluded.host, created_at = excluded.created_at, tags = excluded.tags
WHERE (SELECT source_seq FROM events WHERE seq = excluded.created)
    < (SELECT source_seq FROM events WHERE seq = sweeps.created)

-- name: put_launches
INSERT INTO launches (sweep, launch, planned, count) VALUES (?, ?, ?, ?)
ON CONFLICT (sweep, launch) DO UPDATE SET planned = excluded.planned, count = excluded.count
WHERE (SELECT source_seq FROM events WHERE seq = excluded.planned)
    < (SELECT source_seq FROM events WHERE seq = launches.planned)

-- name: put_base
INSERT OR IGNORE INTO bases (sweep, launch, base, planned) VALUES (?, ?, ?, ?)

-- name: put_submissions
INSERT OR REPLACE INTO submissions
    (sweep, submission, launch, runs, token, backend, script, state, intended_at, job_id, cluster, reason, keeper,
     tasks, form, lowest, highest, cancellations)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_run
INSERT OR REPLACE INTO runs
    (sweep, run, planned, launch, state, job_id, submission, attempts, node, started_at, ended_at, exit_code,
     reason, reused_from, result, error, log, metrics, lingers, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_attempt
INSERT OR REPLACE INTO attempts
    (sweep, run, submission, restart, state, job_id, node, pid, started_at, ended_at, exit_code, signal,
     slurm_state, reason, seed, log, log_start, log_end, result, error, restored_from, restored_step,
     checkpoint_step, checkpoint, job_restart, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_to_tally
INSERT INTO tallies (sweep, state, runs) VALUES (?, ?, ?)
ON CONFLICT (sweep, state) DO UPDATE SET runs = runs + excluded.runs

-- name: drop_empty_tallies
DELETE FROM tallies WHERE sweep = ? AND runs = 0

-- name: set_sweep_state
UPDATE sweeps SET state = ?, runs = ? WHERE sweep = ?

-- Reading ----------------------------------------------------------------------------------------------------

-- name: read_sweeps
SELECT s.sweep, s.id, s.state, i.looked_at, e.time, e.body
FROM sweeps AS s
JOIN sweep_ids AS i ON i.sweep = s.sweep
JOIN events AS e ON e.seq = s.created
ORDER BY s.created_at DESC, s.sweep DESC

-- name: read_sweep
SELECT s.sweep, s.id, s.state, i.looked_at, e.time, e.body
FROM sweeps AS s
JOIN sweep_ids AS i ON i.sweep = s.sweep
JOIN events AS e ON e.seq = s.created
WHERE s.id = ?

-- name: latest_sweeps
SELECT id, state FROM sweeps ORDER BY user = ? DESC, created_at DESC, sweep DESC

-- name: sweep_id_of_job
SELECT s.id FROM submissions AS b JOIN sweeps AS s ON s.sweep = b.sweep
WHERE b.job_id = ? ORDER BY b.intended_at DESC LIMIT 1

-- name: sweep_ids_with_prefix
SELECT id FROM sweeps WHERE instr(id, ?) = 1 ORDER BY id LIMIT 6

-- name: tallies
SELECT state, runs FROM tallies WHERE sweep = ? ORDER BY state

-- name: read_runs
SELECT r.run, r.launch, r.state, r.job_id, r.submission, r.attempts, r.node, r.started_at, r.ended_at, r.exit_code,
       r.reason, r.reused_from, r.result, r.error, r.log, r.lingers, m.body, e.body
FROM runs AS r JOIN events AS e ON e.seq = r.planned LEFT JOIN events AS m ON m.seq = r.metrics
WHERE r.sweep = ?
ORDER BY r.run LIMIT ?

-- The index on states has them in order, so that no more rows and plans are read than asked for.
-- name: read_runs_in_state
WITH chosen AS (
    SELECT run FROM runs WHERE sweep = ? AND state = ? ORDER BY run LIMIT ?
)
SELECT r.run, r.launch, r.state, r.job_id, r.submission, r.attempts, r.node, r.started_at, r.ended_at, r.exit_code,
       r.reason, r.reused_from, r.result, r.error, r.log, r.lingers, m.body, e.body
FROM chosen
CROSS JOIN runs AS r ON r.sweep = ? AND r.run = chosen.run
CROSS JOIN events AS e ON e.seq = r.planned
LEFT JOIN events AS m ON m.seq = r.metrics
ORDER BY r.run

-- name: read_runs_by_index
SELECT r.run, r.launch, r.state, r.job_id, r.submission, r.attempts, r.node, r.started_at, r.ended_at, r.exit_code,
       r.reason, r.reused_from, r.result, r.error, r.log, r.lingers, m.body, e.body
FROM json_each(?) AS wanted
CROSS JOIN runs AS r ON r.sweep = ? AND r.run = wanted.value
CROSS JOIN events AS e ON e.seq = r.planned
LEFT JOIN events AS m ON m.seq = r.metrics
ORDER BY r.run LIMIT ?

-- The latest completed run with each of some keys (a JSON list). The part of the key that is indexed comes first.
-- name: completed_by_key
SELECT wanted.value, i.id, r.run, max(e.seq)
FROM json_each(?) AS wanted
CROSS JOIN events AS e
    ON e.kind = 'run-planned' AND substr(json_extract(e.body, '$.key'), 8, 16) = substr(wanted.value, 8, 16)
    AND json_extract(e.body, '$.key') = wanted.value
CROSS JOIN runs AS r ON r.sweep = e.sweep AND r.run = e.run AND r.planned = e.seq
CROSS JOIN sweep_ids AS i ON i.sweep = e.sweep
WHERE r.state = 'COMPLETED'
GROUP BY wanted.value

-- The latest completed runs with one of some configurations (a JSON list of digests), of the latest sweeps.
-- name: completed_by_config
SELECT i.id, r.run
FROM (SELECT sweep, id FROM sweep_ids ORDER BY sweep DESC LIMIT ?) AS i
CROSS JOIN runs AS r ON r.sweep = i.sweep AND r.state = 'COMPLETED'
CROSS JOIN events AS e ON e.seq = r.planned
WHERE json_extract(e.body, '$.config_digest') IN (SELECT value FROM json_each(?))
ORDER BY e.seq DESC LIMIT ?

-- name: read_indices
SELECT run FROM runs WHERE sweep = ? AND run > ? ORDER BY run LIMIT ?

-- name: extent
SELECT min(run), max(run) FROM runs WHERE sweep = ?

-- name: read_indices_in_states
SELECT r.run
FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.sweep = ? AND r.state = wanted.value
ORDER BY r.run

-- name: tallies_of_runs
SELECT r.state, count(*)
FROM json_each(?) AS wanted CROSS JOIN runs AS r ON r.sweep = ? AND r.run = wanted.value
GROUP BY r.state

-- name: read_attempts_of_runs
SELECT a.run, submission, restart, state, job_id, node, pid, started_at, ended_at, exit_code, signal, slurm_state,
       reason, seed, log, log_start, log_end, result, error, restored_from, restored_step, checkpoint_step, checkpoint,
       job_restart
FROM json_each(?) AS wanted CROSS JOIN attempts AS a ON a.sweep = ? AND a.run = wanted.value
ORDER BY a.run, submission, restart

-- name: read_attempts
SELECT run, submission, restart, state, job_id, node, pid, started_at, ended_at, exit_code, signal, slurm_state,
       reason, seed, log, log_start, log_end, result, error, restored_from, restored_step, checkpoint_step, checkpoint,
       job_restart
FROM attempts WHERE sweep = ? ORDER BY run, submission, restart

-- name: read_logs
SELECT run, submission, restart, log, log_start FROM attempts
WHERE sweep = ? AND log IS NOT NULL ORDER BY log, log_start, started_at

-- name: read_submissions
SELECT submission, launch, runs, token, backend, script, state, intended_at, job_id, cluster, reason, keeper,
       tasks, form, cancellations
FROM submissions WHERE sweep = ? ORDER BY submission

-- name: read_launches
SELECT e.time, e.body FROM launches AS b JOIN events AS e ON e.seq = b.planned WHERE b.sweep = ? ORDER BY b.launch

-- The base that a run starts from, and the run's own plan.
-- name: read_config
SELECT base.body, plan.body
FROM runs AS r
JOIN events AS plan ON plan.seq = r.planned
JOIN bases AS b ON b.sweep = r.sweep AND b.launch = r.launch AND b.base = json_extract(plan.body, '$.base')
JOIN events AS base ON base.seq = b.planned
WHERE r.sweep = ? AND r.run = ?

-- Of a kind that belongs to no run: few.
-- name: read_events_of_sweep
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM events AS e JOIN sources AS o ON o.source = e.source
WHERE e.sweep = ? AND e.run IS NULL AND e.kind = ?
ORDER BY e.seq

-- name: read_events
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM sources AS o CROSS JOIN events AS e ON e.source = o.source
WHERE o.sweep = ?
ORDER BY e.seq

-- name: read_events_of_run
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM events AS e JOIN sources AS o ON o.source = e.source
WHERE e.sweep = ? AND e.run = ? AND e.run IS NOT NULL
    AND e.kind <> 'checkpoint-saved' AND e.kind <> 'checkpoint-failed' AND e.kind <> 'checkpoint-rejected'
    AND e.kind <> 'metrics-summarised'
UNION ALL
SELECT e.seq, e.run, o.name, e.source_seq, e.time, e.kind, e.body
FROM events AS e JOIN sources AS o ON o.source = e.source
WHERE e.sweep = ? AND e.run = ?
    AND (e.kind = 'checkpoint-saved' OR e.kind = 'checkpoint-failed' OR e.kind = 'checkpoint-rejected'
        OR e.kind = 'metrics-summarised')
ORDER BY 1

-- Checking ---------------------------------------------------------------------------------------------------

-- name: chain
SELECT e.seq, e.source_seq, e.run, e.kind, e.time, e.body, e.hash, o.name, i.id
FROM events AS e
LEFT JOIN sources AS o ON o.source = e.source
LEFT JOIN sweep_ids AS i ON i.sweep = e.sweep AND i.sweep = o.sweep
WHERE e.seq BETWEEN ? AND ?
ORDER BY e.seq

-- What became known after an event, sweep by sweep.
-- name: events_since
SELECT i.id, count(*), json_group_array(DISTINCT e.run), json_group_array(DISTINCT e.kind)
FROM events AS e JOIN sweep_ids AS i ON i.sweep = e.sweep
WHERE e.seq > ?
GROUP BY e.sweep
ORDER BY min(e.seq)

-- name: schema
SELECT name, type, tbl_name, sql FROM sqlite_master
WHERE tbl_name NOT IN ('sqlite_stat1', 'sqlite_stat4')

-- name: forget_offsets
UPDATE sources SET offset = 0, settled = 0

-- name: forget_looks
UPDATE sweep_ids SET looked_at = NULL

-- name: migrations
SELECT name, applied_at FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id

-- name: note_migration
INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, '')

-- name: ill_kept_sweeps
SELECT DISTINCT i.id FROM sweep_ids AS i LEFT JOIN sources AS o ON o.sweep = i.sweep
WHERE i.looked_at NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].*Z'
    OR typeof(i.looked_at) NOT IN ('text', 'null')
    OR o.settled NOT IN (0, o.name GLOB 'launch-*') OR o.offset < 0

-- name: hash_of
SELECT hash FROM events WHERE seq = ?

-- name: counted_states
SELECT state, count(*) FROM runs WHERE sweep = ? GROUP BY state

-- How many attempts the runs of a sweep tell of, and how many there are.
-- name: counted_attempts
WITH asked (sweep) AS (VALUES (?))
SELECT (SELECT total(r.attempts) FROM runs AS r WHERE r.sweep = asked.sweep),
       (SELECT count(*) FROM attempts AS a WHERE a.sweep = asked.sweep)
FROM asked

-- name: all_sweeps
SELECT * FROM sweeps WHERE sweep = ?

-- name: all_launches
SELECT * FROM launches WHERE sweep = ?

-- name: all_bases
SELECT * FROM bases WHERE sweep = ?

-- name: all_submissions
SELECT * FROM submissions WHERE sweep = ?

-- name: all_runs
SELECT * FROM runs WHERE sweep = ? AND run > ? AND run <= ?

-- name: all_attempts
SELECT * FROM attempts WHERE sweep = ? AND run > ? AND run <= ?
