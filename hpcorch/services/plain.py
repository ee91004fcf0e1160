"""The ledger's values as JSON-able data. The keys are what ``--json`` promises; none is removed or renamed.

Times are UTC text, durations seconds, states full names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from hpcorch.ledger import SweepSummary
from hpcorch.model.entities import Attempt, Batch, Run, Submission, Sweep
from hpcorch.model.events import Event, kind_of, to_body
from hpcorch.model.ids import format_ranges, parse_time
from hpcorch.model.states import RunState

Plain = dict[str, Any]


def sweep_as_plain(summary: SweepSummary, *, looked_at: str | None, now: datetime) -> Plain:
    """A sweep in short.

    :param looked_at: when its journals were last read
    """
    sweep = summary.sweep
    return {
        "sweep": sweep.id,
        "name": sweep.name,
        "state": summary.state.value,
        "counts": counts_as_plain(summary.counts),
        "total": summary.runs,
        "backend": sweep.backend,
        "user": sweep.user,
        "host": sweep.host,
        "directory": sweep.directory,
        "tags": list(sweep.tags),
        "created_at": sweep.created_at,
        "looked_at": looked_at,
        "age_s": seconds_between(looked_at, now),
    }


def origin_as_plain(sweep: Sweep) -> Plain:
    """Where a sweep came from."""
    return {
        "project": sweep.project,
        "cwd": sweep.cwd,
        "argv": list(sweep.argv),
        "root_seed": sweep.root_seed,
        "sweeper": sweep.sweeper,
        "cluster": sweep.cluster,
        "python": sweep.python,
        "versions": dict(sweep.versions),
    }


def counts_as_plain(counts: Mapping[RunState, int]) -> dict[str, int]:
    """Counts by state, in the order of a run's life."""
    return {state.value: counts[state] for state in RunState if counts.get(state)}


def run_as_plain(run: Run, attempts: Iterable[Attempt], *, now: datetime) -> Plain:
    """A run with its attempts, the earliest first."""
    return {
        "index": run.run,
        "state": run.state.value,
        "overrides": list(run.overrides),
        "params": dict(run.params),
        "seed": run.seed,
        "seed_source": run.seed_source,
        "config_digest": run.config_digest,
        "directory": run.directory,
        "batch": run.batch,
        "submission": run.submission,
        "job_id": run.job_id,
        "node": run.node,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "elapsed_s": elapsed_s(run.started_at, run.ended_at, now),
        "exit_code": run.exit_code,
        "reason": run.reason,
        "error": run.error,
        "result": run.result,
        "log": run.log,
        "attempts": [attempt_as_plain(attempt) for attempt in attempts],
    }


def attempt_as_plain(attempt: Attempt) -> Plain:
    """An attempt; its sweep and run are known from where it stands."""
    return {"attempt": attempt_name(attempt), **_fields(attempt, "sweep", "run"), "state": attempt.state.value}


def attempt_name(attempt: Attempt) -> str:
    """What tells an attempt from the run's others: ``s0.r1`` for the second start of the first submission."""
    return f"s{attempt.submission}.r{attempt.restart}"


def batch_as_plain(batch: Batch) -> Plain:
    """A launch with its launcher keys as given."""
    return _fields(batch, "sweep")


def submission_as_plain(submission: Submission) -> Plain:
    """A submission; its runs as Slurm writes array indices."""
    return {
        **_fields(submission, "sweep"),
        "runs": format_ranges(submission.runs),
        "state": submission.state.value,
    }


def event_as_plain(event: Event) -> Plain:
    """An event with the fact's own fields in ``body``."""
    return {
        "source": event.source,
        "seq": event.seq,
        "time": event.time,
        "kind": kind_of(event.fact),
        "body": to_body(event.fact),
    }


def elapsed_s(started_at: str | None, ended_at: str | None, now: datetime) -> float | None:
    """Seconds that something took, or has taken so far; None if it has not started."""
    if started_at is None or ended_at is None:
        return seconds_between(started_at, now)
    try:
        return seconds_between(started_at, parse_time(ended_at))
    except ValueError:
        return None


def seconds_between(start: str | None, end: datetime) -> float | None:
    """Seconds from a recorded time, at least 0 since hosts' clocks differ; None if there is no such time."""
    try:
        return None if start is None else round(max(0.0, (end - parse_time(start)).total_seconds()), 3)
    except ValueError:
        return None


def _fields(value: Attempt | Batch | Submission, *without: str) -> Plain:
    # Not dataclasses.asdict, which copies deeply: a sweep has a hundred thousand attempts.
    return {item.name: getattr(value, item.name) for item in fields(value) if item.name not in without}
