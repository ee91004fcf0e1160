-- An attempt may tell of thousands of checkpoints and summaries of its metrics. Folding a run reads the last of them
-- alone, and so they have an index of their own. Applied once, by migration 4.

DROP INDEX IF EXISTS events_of_run;
CREATE INDEX events_of_run ON events (sweep, run)
WHERE run IS NOT NULL
    AND kind <> 'checkpoint-saved' AND kind <> 'checkpoint-failed' AND kind <> 'checkpoint-rejected'
    AND kind <> 'metrics-summarised';

DROP INDEX IF EXISTS events_told_often;
CREATE INDEX events_told_often ON events (sweep, run, source, kind, source_seq)
WHERE kind = 'checkpoint-saved' OR kind = 'checkpoint-failed' OR kind = 'checkpoint-rejected'
    OR kind = 'metrics-summarised';
