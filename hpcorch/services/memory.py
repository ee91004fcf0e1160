"""Whether a job that SIGKILL ended was over its memory limit: the log has Slurm's own words for it.

The cgroup plugin yields OUT_OF_MEMORY. Where ``JobAcctGatherParams=OverMemoryKill`` guards the limit instead,
Slurm says FAILED with signal 9, as it does of a process that killed itself, and only slurmstepd's line in the log
tells the two apart (measured on 22.05, 24.11 and 26.05).
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Attempt
from hpcorch.model.events import JobObserved
from hpcorch.model.stops import killed_by
from hpcorch.services.attempt_logs import error_file
from hpcorch.services.known import Known

_READ_BYTES = 1 << 16  # slurmstepd's words come last
# Before them stands its name and node, or on 26.05 the time in brackets (measured).
_WORDS = re.compile(rb"(?im)^(slurmstepd\S*:|\[[\dT:.-]+\]) error: .*(exceeded (job )?memory limit|oom[-_]kill)")


def with_memory(facts: Iterable[JobObserved], known: Known, layout: SweepLayout) -> list[JobObserved]:
    """The same facts; those of a job that SIGKILL ended say what the log has of its memory, if it can be read."""
    return [_with_memory(fact, known, layout) if _is_killed(fact) else fact for fact in facts]


def _is_killed(fact: JobObserved) -> bool:
    return (fact.state, fact.witness, killed_by(fact)) == ("FAILED", "sacct", signal.SIGKILL)


def _with_memory(fact: JobObserved, known: Known, layout: SweepLayout) -> JobObserved:
    attempt = known.attempts.get((fact.run, fact.submission))
    if attempt is None or attempt.restart != fact.restart or attempt.log is None:
        return fact
    return replace(fact, over_memory=_is_over(attempt, layout.present(Path(attempt.log))))


def _is_over(attempt: Attempt, log: Path) -> bool | None:
    found: bool | None = None
    for path, start in ((log, attempt.log_start or 0), (error_file(log), 0)):
        if path is None:
            continue
        try:
            found = _has_words(path, start) or bool(found)
        except OSError:
            continue
    return found


def _has_words(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - _READ_BYTES))
        return _WORDS.search(file.read()) is not None
