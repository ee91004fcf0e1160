"""What squeue prints in our formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hpcorch.model.job_states import JobState, parse_state
from hpcorch.slurm.answers.times import parse_utc
from hpcorch.slurm.array_elements import parse_tasks

_COLUMNS = 9
_ROW_OF_ID = re.compile(r"^(\d+)\|", re.MULTILINE)
_LICENSE = re.compile(r"([^\s:,;|()]+)(?::(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One job or array element that the controller knows.

    :param job_id: as Slurm shows it: ``369``, or ``369_3`` for an element
    :param raw_id: the element's own id, ``SLURM_JOB_ID`` inside it; the array's until it has one
    :param array_job_id: the array's id, or the job's own
    :param index: the element's index; ``None`` for a job that is no array
    :param submitted_at: in UTC; a requeue changes it
    :param nodes: node list as Slurm writes it, empty before the start
    :param reason: why it waits, or ``None``; several, joined by commas, where elements are in one row
        (:func:`merged_arrays`)
    """

    job_id: str
    raw_id: str
    array_job_id: str
    index: int | None
    state: JobState
    submitted_at: datetime | None
    nodes: str
    reason: str | None
    comment: str


def parse(text: str) -> list[QueueRow]:
    """Read the rows of ``squeue -h -o QUEUE_FORMAT``; other lines (``CLUSTER: x``) are skipped.

    Waiting elements in one row (``369_[0-14:2]``) become one each.
    """
    rows: list[QueueRow] = []
    for line in text.splitlines():
        columns = line.split("|", _COLUMNS - 1)
        if len(columns) == _COLUMNS:
            rows.extend(_rows(*columns))
    return rows


def _rows(
    job_id: str, raw: str, array: str, tasks: str, state: str, submitted: str, nodes: str, reason: str, comment: str
) -> Iterator[QueueRow]:
    row = QueueRow(
        job_id=job_id,
        raw_id=raw,
        array_job_id=array,
        index=None,
        state=parse_state(state),
        submitted_at=parse_utc(submitted),
        nodes=nodes,
        reason=_reason(reason),
        comment="" if comment == "(null)" else comment,
    )
    if not tasks[:1].isdigit():  # N/A: no array
        yield row
    else:
        for index in parse_tasks(tasks):
            yield replace(row, job_id=f"{array}_{index}", index=index)


def merged_arrays(rows: Iterable[QueueRow]) -> list[str]:
    """The arrays of which elements that wait for different reasons share a row.

    All three releases do that to an array with two or more elements that have no job id of their own yet.
    """
    reasons = Counter((row.array_job_id, row.reason) for row in rows if "," in (row.reason or ""))
    return sorted({array for (array, _), elements in reasons.items() if elements > 1})


def with_own_reasons(rows: Iterable[QueueRow], singly: Sequence[QueueRow]) -> list[QueueRow]:
    """The rows of elements that share one, as they are without that.

    :param singly: what ``squeue -r`` says of these arrays. One that it leaves out is one of several that have
        no job id of their own yet, and waits for what they wait for.
    """
    own = {(row.array_job_id, row.index): row for row in singly}
    rest = {
        row.array_job_id: row.reason
        for row in singly
        if row.state is JobState.PENDING and row.raw_id == row.array_job_id
    }
    return [
        own.get((row.array_job_id, row.index))
        or (replace(row, reason=rest.get(row.array_job_id, row.reason)) if row.state is JobState.PENDING else row)
        for row in rows
    ]


def jobs_with_token(text: str, token: str) -> list[str]:
    """The ids in the rows of ``squeue -h -o TOKEN_FORMAT`` whose comment or command holds the token.

    The command may have arguments, and these several lines (22.05: measured).
    """
    _, *parts = _ROW_OF_ID.split(text)
    return [job_id for job_id, rest in zip(parts[::2], parts[1::2], strict=True) if token in rest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the scheduler thinks of a job that waits.

    :param reason: why it waits; ``None`` if the scheduler has not considered it yet
    :param expected_start: its guess, which it makes for the jobs next in line only
    """

    reason: str | None
    expected_start: datetime | None


def parse_waiting(text: str) -> Waiting | None:
    """Read the row of :func:`hpcorch.slurm.commands.squeue_waiting`; ``None`` if nothing waits."""
    for line in text.splitlines():
        columns = line.split("|", 2)
        if len(columns) == 3:
            return Waiting(reason=_reason(columns[2]), expected_start=parse_utc(columns[1]))
    return None


def parse_preemptions(text: str) -> dict[str, datetime]:
    """The start of each execution that Slurm has begun to preempt, by job or element.

    From the rows of :func:`hpcorch.slurm.commands.squeue_preemptions`.
    """
    found = {}
    for line in text.splitlines():
        job_id, start, preempted, *_ = (*line.split("|"), "", "")
        started_at, preempted_at = parse_utc(start), parse_utc(preempted)
        if started_at is not None and preempted_at is not None and started_at <= preempted_at:
            found[job_id] = started_at
    return found


def _reason(text: str) -> str | None:
    return None if text in ("", "None") else text


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseHolder:
    """A job that holds licences, or waits for them.

    :param licenses: name -> count
    """

    user: str
    running: bool
    licenses: Mapping[str, int]


def parse_license_holders(text: str) -> list[LicenseHolder]:
    """Read the rows of :func:`hpcorch.slurm.commands.squeue_licenses` that have licences.

    Of those that wait only the ones that wait for licences.
    """
    found = []
    for line in text.splitlines():
        user, state, reason, licenses = [*line.split("|", 3), "", "", ""][:4]
        counts = {name: int(count or 1) for name, count in _LICENSE.findall(licenses) if name != "null"}
        waits = state == JobState.PENDING.value
        if counts and (not waits or reason == "Licenses"):
            found.append(LicenseHolder(user=user, running=not waits, licenses=counts))
    return found
