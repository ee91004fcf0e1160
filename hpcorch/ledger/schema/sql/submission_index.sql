-- Finds the few events of one submission among those of ten thousand. Applied once, by migration 3.

CREATE INDEX events_of_submission ON events (sweep, json_extract(body, '$.submission')) WHERE run IS NULL;

-- The new one serves its queries as well.
DROP INDEX events_of_sweep;
