"""Rows of the queue from what pyslurm loads, as squeue would tell them. Pure: nothing is loaded here.

Seen in pyslurm 22.5.3 and 24.11.0 alike, and put right or refused here:

- Task 0 of an array has no ``array_task_id``, since 0 is taken for no value. Neither has a record of elements that
  were cancelled while they waited, once Slurm has forgotten which ones.
- Elements without a record of their own are one record with ``array_tasks_waiting``. It may be written in steps
  (``0-998:2``), and Slurm's library cuts a long list short (``1,3,7,...``).
- The parts of a heterogeneous job have no name such as squeue's ``369+1``.
- Ids are numbers, and the reason of what does not wait is the word ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Protocol

from hpcorch.model.job_states import parse_state
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.array_elements import parse_tasks

_JOB_ID = re.compile(r"(\d+)(?:_(\d+))?")


class CannotTellError(Exception):
    """pyslurm does not give enough for the requested rows; squeue does."""


class Record(Protocol):
    """What is read of a ``pyslurm.Job``: a job, an array element, or the elements of an array that wait."""

    @property
    def id(self) -> int: ...
    @property
    def array_id(self) -> int | None: ...
    @property
    def array_task_id(self) -> int | None: ...
    @property
    def array_tasks_waiting(self) -> str | None: ...
    @property
    def heterogeneous_id(self) -> int | None: ...
    @property
    def state(self) -> str: ...
    @property
    def submit_time(self) -> int | None: ...
    @property
    def allocated_nodes(self) -> str | None: ...
    @property
    def state_reason(self) -> str | None: ...
    @property
    def comment(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Ids of jobs, arrays or elements that are asked for whole, and indices of single elements by array."""

    jobs: Collection[int]
    elements: Mapping[int, Collection[int]]

    @classmethod
    def parse(cls, job_ids: Iterable[str]) -> _Asked:
        jobs: set[int] = set()
        elements: dict[int, set[int]] = {}
        for one in job_ids:
            match = _JOB_ID.fullmatch(one)
            if match is None:
                raise CannotTellError(f"{one!r} is not the id of a job or of one element")
            if match[2] is None:
                jobs.add(int(match[1]))
            else:
                elements.setdefault(int(match[1]), set()).add(int(match[2]))
        return cls(jobs=jobs, elements=elements)

    def indices(self, record: Record) -> Sequence[int | None]:
        """Those elements of a record that are asked for; ``None`` stands for a job that is no array."""
        array = record.array_id
        if record.id in self.jobs or array in self.jobs:
            return _indices(record)
        if array is not None and (chosen := self.elements.get(array)):
            return [index for index in _indices(record) if index in chosen]
        if record.heterogeneous_id in self.jobs:
            raise CannotTellError(f"job {record.heterogeneous_id} is a heterogeneous one")
        return ()


def rows(records: Iterable[Record], job_ids: Iterable[str]) -> list[QueueRow]:
    """The rows of these jobs, arrays or elements (``369``, ``369_3``), of all that pyslurm has loaded.

    :raises CannotTellError: the records do not say
    """
    asked = _Asked.parse(job_ids)
    found: dict[str, QueueRow] = {}
    for record in records:
        for index in asked.indices(record):
            row = _row(record, index)
            if row.job_id in found:
                raise CannotTellError(f"there are two records of {row.job_id}")
            found[row.job_id] = row
    return list(found.values())


def _indices(record: Record) -> Sequence[int | None]:
    if record.heterogeneous_id is not None:
        raise CannotTellError(f"job {record.heterogeneous_id} is a heterogeneous one")
    if record.array_id is None:
        return (None,)
    if record.array_tasks_waiting is not None:
        return _waiting(record.array_tasks_waiting)
    if record.array_task_id is None and record.id == record.array_id and not record.allocated_nodes:
        raise CannotTellError(f"array {record.id} may have no elements any more, or one with index 0")
    return (record.array_task_id or 0,)


def _waiting(text: str) -> list[int]:
    try:
        return parse_tasks(text)
    except ValueError as error:
        raise CannotTellError(str(error)) from error


def _row(record: Record, index: int | None) -> QueueRow:
    array = record.id if record.array_id is None else record.array_id
    submitted = record.submit_time
    return QueueRow(
        job_id=str(array) if index is None else f"{array}_{index}",
        raw_id=str(record.id),
        array_job_id=str(array),
        index=index,
        state=parse_state(record.state),
        submitted_at=None if submitted is None else datetime.fromtimestamp(submitted, timezone.utc),
        nodes=record.allocated_nodes or "",
        reason=None if record.state_reason == "None" else record.state_reason,
        comment=record.comment or "",
    )
