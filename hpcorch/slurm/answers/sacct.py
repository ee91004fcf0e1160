"""What sacct prints in our formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hpcorch.model.job_states import JobState, parse_state
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.slurm.answers.times import parse_utc
from hpcorch.slurm.array_elements import parse_tasks
from hpcorch.slurm.commands import ACCOUNTING_FIELDS, COMMAND_LINE_FIELD, STEPS_CODE_FIELD

_JOB_ID = re.compile(r"(\d+)(?:_(?:(\d+)|\[([\d,:-]+)(?:%\d+)?\]))?")
_NOTHING = frozenset({"", "None", "None assigned", "Unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingRow:
    """One attempt of a job or array element, from the accounting database.

    Rows of one element come in the order of its attempts. The time of submission differs between them.

    :param job_id: ``369``, or ``369_3`` for an element
    :param raw_id: the element's own id; the array's while it waits
    :param exit_code: the batch script's exit code; of one of 128 or more 22.05 and 24.11 print what is beyond 128
        (140 as 12), and 26.05 all of it (measured)
    :param signal: the signal that ended it, or a step whose end it passes on as ``srun`` does; 0 for none
    :param started_at: None of what never had a node: its Start is when it was cancelled (measured on 22.05)
    :param cancelled_by: uid that cancelled it
    :param command_line: what submitted it, where the release records that
    :param together: the row stood for several waiting elements at once (``369_[0-3]``)
    """

    job_id: str
    raw_id: str
    array_job_id: str
    index: int | None
    state: JobState
    exit_code: int
    signal: int
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    nodes: str
    reason: str | None
    cancelled_by: int | None
    together: bool = False
    command_line: str = ""


def parse(text: str, fields: Sequence[str] = ACCOUNTING_FIELDS) -> list[AccountingRow]:
    """Read the rows of ``sacct -n -X -P -D``; waiting elements in one row (``369_[0-2%1]``) become one each."""
    rows: list[AccountingRow] = []
    for columns in _columns(text, fields):
        rows.extend(_rows(columns))
    return rows


def _columns(text: str, fields: Sequence[str]) -> Iterator[Mapping[str, str]]:
    for line in text.splitlines():
        columns = line.split("|", len(fields) - 1)
        if len(columns) == len(fields):
            yield dict(zip(fields, columns, strict=True))


def _rows(columns: Mapping[str, str]) -> Iterator[AccountingRow]:
    match = _JOB_ID.fullmatch(columns["JobID"])
    if match is None:
        return
    array, index, waiting = match.groups()
    indices: Sequence[int | None] = parse_tasks(waiting) if waiting else [int(index) if index else None]
    code, signal = _code_and_signal(columns)
    nodes = "" if columns["NodeList"] in _NOTHING else columns["NodeList"]
    canceller = re.fullmatch(r"CANCELLED by (\d+)", columns["State"])
    for one in indices:
        yield AccountingRow(
            job_id=array if one is None else f"{array}_{one}",
            raw_id=columns["JobIDRaw"],
            array_job_id=array,
            index=one,
            state=parse_state(columns["State"]),
            exit_code=code,
            signal=signal,
            submitted_at=parse_utc(columns["Submit"]),
            started_at=parse_utc(columns["Start"]) if nodes else None,
            ended_at=parse_utc(columns["End"]),
            nodes=nodes,
            reason=None if columns["Reason"] in _NOTHING else columns["Reason"],
            cancelled_by=int(canceller[1]) if canceller else None,
            together=waiting is not None,
            command_line=columns.get(COMMAND_LINE_FIELD, ""),
        )


def _code_and_signal(columns: Mapping[str, str]) -> tuple[int, int]:
    """Exit code and signal of the script, or the signal of its step.

    A script that becomes ``srun`` ends with 128 and the number of the signal that its tasks died of. That is
    shown as ``9:0`` on 22.05 and 24.11 and as ``137:0`` on 26.05, beside ``0:9`` as the highest code of its steps
    (measured).
    """
    code, signal = _numbers(columns["ExitCode"])
    _, step_signal = _numbers(columns.get(STEPS_CODE_FIELD, ""))
    passed_on = step_signal and code in (step_signal, EXIT_SIGNAL_BASE + step_signal)
    return (code, step_signal) if passed_on else (code, signal)


def _numbers(text: str) -> tuple[int, int]:
    code, _, signal = text.partition(":")
    return int(code or 0), int(signal or 0)


def parse_fields(text: str) -> frozenset[str]:
    """Read ``sacct --helpformat``."""
    return frozenset(text.split())


def jobs_with_token(text: str, token: str) -> list[str]:
    """The array or job ids in rows that start with ``JobID`` and hold the token anywhere after it."""
    rows = (line.partition("|") for line in text.splitlines())
    matches = (_JOB_ID.fullmatch(job_id) for job_id, _, rest in rows if token in rest)
    return list(dict.fromkeys(match[1] for match in matches if match))
