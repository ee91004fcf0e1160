"""Taking a run: one journal per attempt, made by exclusive creation, and a look at the attempts around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.journal.access import settle
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.model.events import AttemptClaimed, AttemptEnded, Event, Fact
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.context.place import Place, log_file


class SupersededError(BaseException):
    """A later attempt of the run has begun, and this one must end. User code should not catch it."""


def claim(place: Place) -> JournalWriter:
    """Create the attempt's journal with its first fact; durably, unless a power cut would end all that goes by it.

    That is so in a local pool: whoever comes after a power cut makes another submission.

    :raises RecordError: another process has claimed this very attempt, or the journal cannot be written
    """
    path = place.layout.journal(place.attempt)
    try:
        return _claimed(place, path)
    except FileExistsError:
        raise RecordError(
            f"attempt {place.attempt} is already claimed: {path} exists. Two processes were started for one"
            " attempt; this one does nothing"
        ) from None
    except OSError as error:
        raise RecordError(
            f"attempt {place.attempt} cannot be claimed, because {path} cannot be written ({error.strerror}):"
            " nothing was executed. Check that the node has the sweep directory mounted, writable and with space"
            " left, and submit the run again"
        ) from error


def _claimed(place: Place, path: Path) -> JournalWriter:
    durable = place.pool is None
    journal = JournalWriter.create(path, durable=durable)
    log = log_file()
    if log is not None and log.parent == place.layout.logs:  # Slurm has made it, by the umask
        for file in (log, log.with_suffix(".err")):
            settle(file)
    journal.append(claim_of(place, log), durable=durable)
    return journal


def claim_of(place: Place, log: Path | None) -> AttemptClaimed:
    """The first fact of an attempt that this process begins.

    :param log: the file that its output goes to; None of a script, whose commands may write elsewhere
    """
    return AttemptClaimed(
        host=place.host,
        pid=os.getpid(),
        job_id=place.job_id,
        array_job_id=None if place.job is None else place.job.array_id,
        array_task=place.array_task,
        log=str(log) if log else None,
        log_offset=log.stat().st_size if log else None,
        python=sys.executable,
        cpus=cpu_count(),
        gpus=place.gpus,
        tasks=place.tasks,
        nodes=None if place.job is None else place.job.nodes,
        job_restart=place.job.restart if place.job is not None and place.is_packed else None,
        forked=place.forked,
    )


def earlier_end(layout: SweepLayout, attempt: AttemptId) -> AttemptId | None:
    """An earlier attempt that completed the run, if one did.

    A completed array element that is requeued from outside runs again (measured), so a run looks for its own
    end before it executes. Names are probed, not listed: a listing of a journal folder grows with the sweep.
    """
    for earlier in earlier_attempts(layout, attempt):
        if _completed_alone([event.fact for event in read_attempt(layout, earlier)]):
            return earlier
    return None


def _completed_alone(facts: Sequence[Fact]) -> bool:
    """Whether an attempt completed; of several ranks the first cannot say that for the others."""
    several = any(isinstance(fact, AttemptClaimed) and fact.tasks > 1 for fact in facts)
    return not several and any(
        isinstance(fact, AttemptEnded) and fact.ended_as is AttemptOutcome.COMPLETED for fact in facts
    )


def was_asked_to_end(layout: SweepLayout, attempt: AttemptId) -> bool:
    """Whether somebody asked an earlier attempt of this element to save a checkpoint and end.

    A preemption may end that attempt first, and then Slurm starts the element again. Slurm 24.11 does so even with
    one that ended as it was asked to, if its attempt before was preempted (measured).
    """
    return attempt.restart > 0 and layout.asked(attempt.run, attempt.submission).exists()


def superseded_by(layout: SweepLayout, attempt: AttemptId) -> AttemptId | None:
    """A later attempt of the run that has been claimed, if there is one: then this process must end."""
    later = (
        replace(attempt, restart=attempt.restart + 1),
        AttemptId(run=attempt.run, submission=attempt.submission + 1, restart=0),
    )
    return next((candidate for candidate in later if layout.journal(candidate).exists()), None)


def earlier_attempts(layout: SweepLayout, attempt: AttemptId) -> Iterator[AttemptId]:
    """The attempts of the run before this one, the latest first; some may have left no journal."""
    for restart in reversed(range(attempt.restart)):
        yield replace(attempt, restart=restart)
    if attempt.submission > 0:  # only a resubmitted run pays for a listing: restarts may have left no journal
        names = [path.stem for path in layout.journals.glob(f"{attempt.run}.s*.r*.jsonl")]
        found = map(AttemptId.parse, names)
        yield from sorted((one for one in found if one.submission < attempt.submission), reverse=True)


def read_attempt(layout: SweepLayout, attempt: AttemptId) -> tuple[Event, ...]:
    """The whole events of an attempt's journal; none if it has no journal (yet)."""
    from hpcorch.journal.reader import read_segment  # a first attempt has none to read

    path: Path = layout.journal(attempt)
    try:
        return read_segment(path, sweep="", source=str(attempt), offset=0).events
    except FileNotFoundError:
        return ()


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
