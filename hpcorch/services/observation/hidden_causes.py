"""Causes of an end that Slurm's state does not tell: too much memory, a preemption, and no place for the output.

Whether a job that SIGKILL ended was over its memory limit: the log has Slurm's own words for it.
The cgroup plugin yields OUT_OF_MEMORY. Where ``JobAcctGatherParams=OverMemoryKill`` guards the limit instead,
Slurm says FAILED with signal 9, as it does of a process that killed itself, and only slurmstepd's line in the log
tells the two apart (measured on 22.05, 24.11 and 26.05).

Whether a script that ended, a task that left with exit code 0, or one that was stopped was being preempted: the
controller remembers when it began to be.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import SlurmUnavailableError
from hpcorch.journal.files import open_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.folding.stops import NO_OUTPUT_SIGNAL, killed_by
from hpcorch.model.ids import parse_time
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import AttemptState
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
    with open_regular(path) as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - tunables.LOG_BLOCK_BYTES))
        return _WORDS.search(file.read()) is not None


_log = logging.getLogger(__name__)
# Words that may hide a preemption of a script. Others say more.
_BY_ITSELF = frozenset({JobState.COMPLETED, JobState.FAILED})
# Such words on a task, each with what its journal says.
_OF_TASKS = frozenset({(JobState.COMPLETED, AttemptState.RUNNING), (JobState.LINGERING, AttemptState.STOPPED)})


def with_preemptions(facts: Sequence[JobObserved], known: KnownAttempts, client: SlurmClient) -> list[JobObserved]:
    """The same facts; those that may hide a preemption say so if Slurm had started to preempt the job.

    At most one request, and none where there is no such fact or the cluster preempts nobody. Where Slurm does not
    answer, its word on the end counts.
    """
    submissions = {one.submission: one for one in known.submissions.values()}
    doubtful = [fact for fact in facts if _may_hide_one(fact, submissions[fact.submission], known)]
    if not doubtful:
        return list(facts)
    numbers = sorted({fact.submission for fact in doubtful})
    begun = _begun([submissions[number].job_id or "" for number in numbers], client)
    return [
        replace(fact, preempted=True)
        if fact in doubtful and _is_preempted(fact, submissions[fact.submission], begun, known)
        else fact
        for fact in facts
    ]


def _may_hide_one(fact: JobObserved, submission: Submission, known: KnownAttempts) -> bool:
    """Whether a fact is of a script that ended by itself, of a task that left so, or of one that was stopped."""
    if submission.ends_by_slurm:
        return fact.job_state in _BY_ITSELF
    seen = known.attempts.get((fact.run, fact.submission))
    return seen is not None and (fact.job_state, seen.state) in _OF_TASKS


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
    last = known.observed.get(fact.attempt)
    if last is not None and last.preempted:  # the controller may have forgotten it since
        return True
    start = begun.get(submission.element(fact.run) or "")
    # The database speaks of every execution, the controller of the last; a word without a start is the latter's.
    return start is not None and (fact.start is None or parse_time(fact.start) == start)


def with_output_files(facts: Iterable[JobObserved], named: Callable[[JobObserved], str]) -> list[JobObserved]:
    """The same facts; those of a job whose output file Slurm could not open name that file.

    :param named: the file of a fact's run
    """
    return [
        replace(
            fact,
            reason=f"Slurm could not open its output file {named(fact)}: the folder does not exist or is not"
            " writable. Make it before you submit again",
        )
        if (fact.job_state, fact.signal) == (JobState.FAILED, NO_OUTPUT_SIGNAL)
        else fact
        for fact in facts
    ]
