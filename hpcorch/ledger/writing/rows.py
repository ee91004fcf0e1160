"""Rows of the ledger's tables from values, and values from rows. Column order is that of ``sql/queries.sql``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from hashlib import sha256
from typing import Any

from hpcorch.model.entities import Attempt, Cancellation, Run, Submission
from hpcorch.model.events import Event, JobObserved, RunPlanned, RunReused, from_body, kind_of, to_body
from hpcorch.model.ids import AttemptId, format_ranges, parse_ranges
from hpcorch.model.states import AttemptState, Backend, RunState, SubmissionForm, SubmissionState
from hpcorch.model.values import from_plain, to_plain, values_of

Row = tuple[Any, ...]

# One encoder for all: json.dumps with options makes a new one on each call.
encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode_json = json.JSONDecoder().raw_decode  # what is stored has no blanks around it to look for


@lru_cache(maxsize=1 << 16)  # the events of a source come one after another
def attempt_of(source: str) -> AttemptId | None:
    """The attempt whose journal a source is; None for other sources."""
    try:
        return AttemptId.parse(source)
    except ValueError:
        return None


def run_of(event: Event, attempt: AttemptId | None) -> int | None:
    """The run that an event is about; None if it is about the whole sweep."""
    if attempt is not None:
        return attempt.run
    return event.fact.run if isinstance(event.fact, (RunPlanned, RunReused, JobObserved)) else None


def event_content(event: Event) -> tuple[str, str, str]:
    """Kind, time and body as they are stored."""
    return kind_of(event.fact), event.time, encode_json(to_body(event.fact))


def event_from(sweep: str, row: Row) -> Event:
    """An event from (seq, run, source name, source_seq, time, kind, body)."""
    _, _, source, source_seq, time, kind, body = row
    return Event(sweep=sweep, source=source, seq=source_seq, time=time, fact=from_body(kind, _decode_json(body)[0]))


def digest_of(row: Row) -> bytes:
    """What a row of runs or attempts carries in its last column: 8 bytes over all its other columns.

    It tells a row that was folded from one that was edited. Whoever edits a row can also make its digest anew; that
    only a fresh fold shows.
    """
    return sha256(repr(row).encode()).digest()[:8]


def _with_digest(row: Row) -> Row:
    return (*row, digest_of(row))


def run_row(sweep: int, planned: int, metrics: int | None, run: Run) -> Row:
    """The row of a run, digest included.

    :param planned: seq of the event that planned it
    :param metrics: seq of the event that holds its metrics
    """
    row = (
        sweep,
        run.run,
        planned,
        run.launch,
        run.state.value,
        _text(run.job_id),
        run.submission,
        run.attempts,
        _text(run.node),
        run.started_at,
        run.ended_at,
        run.exit_code,
        _text(run.reason),
        run.reused_from,
        _json(to_plain(run.result)),
        _text(run.error),
        _text(run.log),
        metrics,
        int(run.lingers),
    )
    return _with_digest(row)


def run_from(sweep: str, row: Row) -> Run:
    """A run from its row and, last, the bodies of the summary of its metrics and of its plan."""
    (
        run,
        launch,
        state,
        job_id,
        submission,
        attempts,
        node,
        start,
        end,
        code,
        reason,
        reused_from,
        result,
        error,
        log,
        lingers,
        *bodies,
    ) = row
    summary, plan = map(_from_json, bodies)
    return Run(
        sweep=sweep,
        run=run,
        launch=launch,
        base=plan["base"],
        state=RunState(state),
        overrides=tuple(plan["overrides"]),
        params=values_of(plan["params"]),
        changes=plan["changes"],
        config_digest=plan["config_digest"],
        seed=plan["seed"],
        seed_source=plan["seed_source"],
        directory=plan["directory"],
        launcher=plan.get("launcher") or {},
        key=plan.get("key") or "",
        job_id=job_id,
        submission=submission,
        attempts=attempts,
        node=node,
        started_at=start,
        ended_at=end,
        exit_code=code,
        reason=reason,
        reused_from=reused_from,
        result=from_plain(_from_json(result)),
        error=error,
        log=log,
        lingers=bool(lingers),
        metrics=summary["metrics"] if summary else {},
    )


def attempt_row(sweep: int, attempt: Attempt) -> Row:
    """The row of an attempt, digest included."""
    row = (
        sweep,
        attempt.run,
        attempt.submission,
        attempt.restart,
        attempt.state.value,
        _text(attempt.job_id),
        _text(attempt.node),
        attempt.pid,
        attempt.started_at,
        attempt.ended_at,
        attempt.exit_code,
        attempt.signal,
        _text(attempt.slurm_state),
        _text(attempt.reason),
        attempt.seed,
        _text(attempt.log),
        attempt.log_start,
        attempt.log_end,
        _json(to_plain(attempt.result)),
        _text(attempt.error),
        _text(attempt.restored_from),
        attempt.restored_step,
        attempt.checkpoint_step,
        _text(attempt.checkpoint),
        attempt.job_restart,
    )
    return _with_digest(row)


_ATTEMPT_FIELDS = tuple(item.name for item in fields(Attempt) if item.name != "sweep")


def attempt_from(sweep: str, row: Row) -> Attempt:
    values = dict(zip(_ATTEMPT_FIELDS, row, strict=True))
    values["state"] = AttemptState(values["state"])
    values["result"] = from_plain(_from_json(values["result"]))
    return Attempt(sweep=sweep, **values)


def submission_row(sweep: int, submission: Submission) -> Row:
    return (
        sweep,
        submission.submission,
        submission.launch,
        format_ranges(submission.runs),
        submission.token,
        submission.backend.value,
        _text(submission.script),
        submission.state.value,
        submission.intended_at,
        _text(submission.job_id),
        _text(submission.cluster),
        _text(submission.reason),
        _text(submission.keeper),
        submission.tasks,
        submission.form.value,
        min(submission.runs),
        max(submission.runs),
        encode_json(
            [[format_ranges(sorted(one.runs)), one.user, one.checkpoint] for one in submission.cancellations]
        ),
    )


def submission_from(sweep: str, row: Row) -> Submission:
    (
        submission,
        launch,
        runs,
        token,
        backend,
        script,
        state,
        intended_at,
        job_id,
        cluster,
        reason,
        keeper,
        tasks,
        form,
        cancellations,
    ) = row
    return Submission(
        sweep=sweep,
        submission=submission,
        launch=launch,
        runs=tuple(parse_ranges(runs)),
        token=token,
        backend=Backend.of(backend),
        script=script,
        state=SubmissionState(state),
        intended_at=intended_at,
        job_id=job_id,
        cluster=cluster,
        reason=reason,
        keeper=keeper,
        tasks=tasks,
        form=SubmissionForm(form),
        cancellations=tuple(
            Cancellation(runs=frozenset(parse_ranges(asked)), user=user, checkpoint=checkpoint)
            for asked, user, checkpoint in json.loads(cancellations)
        ),
    )


def sweep_row(sweep: int, created: int, event: Event, state: RunState, runs: int) -> Row:
    """The row of a sweep from its sweep-created event."""
    fact: Any = event.fact
    texts: Sequence[str] = (fact.name, fact.backend, fact.directory, fact.user, fact.host)
    tags = encode_json(list(fact.tags))
    return (sweep, event.sweep, created, *map(_text, texts), event.time, tags, state.value, runs)


def _text(value: str | None) -> str | None:
    """Text that SQLite can hold: bytes of a file name that are not UTF-8 are escaped. Events keep them exactly."""
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def _json(value: Any) -> str | None:
    return None if value is None else encode_json(value)


def _from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
