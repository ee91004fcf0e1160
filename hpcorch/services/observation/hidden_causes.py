"""Causes of an end that Slurm's state does not tell: too much memory, and a preemption.

Whether a job that SIGKILL ended was over its memory limit: the log has Slurm's own words for it.
The cgroup plugin yields OUT_OF_MEMORY. Where ``JobAcctGatherParams=OverMemoryKill`` guards the limit instead,
Slurm says FAILED with signal 9, as it does of a process that killed itself, and only slurmstepd's line in the log
tells the two apart (measured on 22.05, 24.11 and 26.05).

Whether a user's script that ended was being preempted: the controller remembers when it began to be.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import SlurmUnavailableError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.folding.stops import killed_by
from hpcorch.model.ids import parse_time
from hpcorch.model.job_states import JobState, Witness
from hpcorch.services.logs.attempts import error_file
from hpcorch.services.observation.known import KnownAttempts
from hpcorch.slurm import commands
from hpcorch.slurm.answers.squeue import parse_preemptions
from hpcorch.slurm.protocol import SlurmClient

# Before them stands its name and node, or on 26.05 the time in brackets (measured).
_WORDS = re.compile(rb"(?im)^(slurmstepd\S*:|\[[\dT:.-]+\]) error: .*(exceeded (job )?memory limit|oom[-_]kill)")


def with_memory(facts: Iterable[JobObserved], known: KnownAttempts, layout: SweepLayout) -> list[JobObserved]:
    """The same facts; those of a job that SIGKILL ended say what the log has of its memory, if it can be read."""
    return [_with_memory(fact, known, layout) if _is_killed(fact) else fact for fact in facts]


def _is_killed(fact: JobObserved) -> bool:
    return (fact.job_state, fact.told_by, killed_by(fact)) == (JobState.FAILED, Witness.SACCT, signal.SIGKILL)


def _with_memory(fact: JobObserved, known: KnownAttempts, layout: SweepLayout) -> JobObserved:
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
        file.seek(max(start, file.seek(0, os.SEEK_END) - tunables.LOG_BLOCK_BYTES))
        return _WORDS.search(file.read()) is not None


_log = logging.getLogger(__name__)
# Words that may hide a preemption. Others say more.
_BY_ITSELF = frozenset({JobState.COMPLETED, JobState.FAILED})


def with_preemptions(facts: Sequence[JobObserved], known: KnownAttempts, client: SlurmClient) -> list[JobObserved]:
    """The same facts; those of a script that ended by itself say so if Slurm had started to preempt it.

    At most one request, and none where no script ended or the cluster preempts nobody. Where Slurm does not answer,
    its word on the end counts.
    """
    scripts = {one.submission: one for one in known.submissions.values() if one.ends_by_slurm}
    ended = {fact.submission for fact in facts if fact.job_state in _BY_ITSELF} & scripts.keys()
    if not ended:
        return list(facts)
    begun = _begun([scripts[number].job_id or "" for number in sorted(ended)], client)
    hidden = (
        fact.submission in ended and _is_preempted(fact, scripts[fact.submission], begun, known) for fact in facts
    )
    return [replace(fact, preempted=True) if found else fact for fact, found in zip(facts, hidden, strict=True)]


def _begun(job_ids: Sequence[str], client: SlurmClient) -> Mapping[str, datetime]:
    try:
        if not client.config().preempts:
            return {}
        return parse_preemptions(client.ask(commands.squeue_preemptions(job_ids)))
    except SlurmUnavailableError as error:
        _log.info("cannot tell whether a script was being preempted when it ended: %s", error)
        return {}


def _is_preempted(
    fact: JobObserved, submission: Submission, begun: Mapping[str, datetime], known: KnownAttempts
) -> bool:
    if fact.job_state not in _BY_ITSELF:
        return False
    last = known.observed.get(fact.attempt)
    if last is not None and last.preempted:  # the controller may have forgotten it since
        return True
    start = begun.get(submission.element(fact.run) or "")
    # The database speaks of every execution, the controller of the last; a word without a start is the latter's.
    return start is not None and (fact.start is None or parse_time(fact.start) == start)
