"""The ledger's values as JSON-able data. The keys are what ``--json`` promises; none is removed or renamed.

Times are UTC text, durations seconds, states full names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from hpcorch.ledger import SweepSummary
from hpcorch.model.entities import Attempt, Launch, Run, Submission, Sweep
from hpcorch.model.events import DriftFound, Event, kind_of, to_body
from hpcorch.model.ids import AttemptId, format_ranges, parse_time
from hpcorch.model.states import RunState

Plain = dict[str, Any]


def sweep_as_plain(summary: SweepSummary, *, looked_at: str | None, now: datetime) -> Plain:
    """A sweep in short.

    :param looked_at: when its journals were last read, or of a script's sweep Slurm was asked
    """
    sweep = summary.sweep
    return {
        "sweep": sweep.id,
        "name": sweep.name,
        "state": summary.state.value,
        "counts": counts_as_plain(summary.counts),
        "total": summary.runs,
        "backend": sweep.backend.value,
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


def run_as_plain(run: Run, attempts: Sequence[Attempt], *, now: datetime) -> Plain:
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
        "launch": run.launch,
        "submission": run.submission,
        "job_id": run.job_id,
        "node": run.node,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "elapsed_s": elapsed_s(run.started_at, run.ended_at, now),
        "exit_code": run.exit_code,
        "reason": run.reason,
        "lingers": run.lingers,
        "reused_from": run.reused_from,
        "error": run.error,
        "result": run.result,
        "log": run.log,
        "step": last_step(run, attempts),
        "metrics": {name: metric_as_plain(metric) for name, metric in run.metrics.items()},
        "attempts": [attempt_as_plain(attempt) for attempt in attempts],
    }


def attempt_as_plain(attempt: Attempt) -> Plain:
    """An attempt; its sweep and run are known from where it stands."""
    return {
        "attempt": attempt_name(attempt),
        **_fields(attempt, "sweep", "run"),
        "state": attempt.state.value,
        "restored_from": restored_from(attempt),
    }


def attempt_name(attempt: Attempt | AttemptId) -> str:
    """What tells an attempt from the run's others: ``s0.r1`` for the second start of the first submission."""
    return f"s{attempt.submission}.r{attempt.restart}"


def restored_from(attempt: Attempt) -> str | None:
    """The attempt of the same run that saved the checkpoint that this one goes on from, as it is named here."""
    try:
        return None if attempt.restored_from is None else attempt_name(AttemptId.parse(attempt.restored_from))
    except ValueError:
        return attempt.restored_from


def metric_as_plain(metric: Mapping[str, Sequence[Any]]) -> Plain:
    """A metric's last, lowest and highest value, each with its step; None where no value was finite."""
    plain: Plain = {}
    for name in ("last", "min", "max"):
        plain[f"{name}_step"], plain[name] = metric.get(name, (None, None))
    return plain


def last_step(run: Run, attempts: Sequence[Attempt]) -> int | None:
    """The last step that metrics or checkpoints tell of; None if neither does.

    :param attempts: those of the run, the earliest first
    """
    steps = [metric["last"][0] for metric in run.metrics.values() if "last" in metric]
    saved = [a.restored_step if a.checkpoint_step is None else a.checkpoint_step for a in attempts]
    return max([*steps, *[step for step in saved if step is not None][-1:]], default=None)


def launch_as_plain(launch: Launch) -> Plain:
    """A launch with its launcher keys as given."""
    return _fields(launch, "sweep")


def submission_as_plain(submission: Submission) -> Plain:
    """A submission; its runs as Slurm writes array indices."""
    return {
        **_fields(submission, "sweep"),
        "runs": format_ranges(submission.runs),
        "cancellations": [
            {"runs": format_ranges(sorted(one.runs)), "user": one.user, "checkpoint": one.checkpoint}
            for one in submission.cancellations
        ],
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


def _fields(value: Attempt | Launch | Submission, *without: str) -> Plain:
    # Not dataclasses.asdict, which copies deeply: a sweep has a hundred thousand attempts.
    return {item.name: getattr(value, item.name) for item in fields(value) if item.name not in without}


def live_scripts_text(drift: Iterable[DriftFound]) -> str | None:
    """What is to be said of scripts that an attempt started by their paths; None if all were the frozen ones."""
    names = [f"{one.script} ({'changed' if one.before else 'not in the snapshot'})" for one in drift if one.script]
    return f"it started scripts of the project that were not frozen: {', '.join(names)}" if names else None
