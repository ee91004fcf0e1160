"""A command as a sweep of one run of its own, outside of Slurm and in jobs that hpcorch has not submitted.

In a job the sweep's directory is named for the job, the command and where it runs. So when Slurm starts the job
again, the command goes on as the next attempt of the same run, with the same seed and checkpoints.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.journal.access import make_folder
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout, scripts_folder
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.lock import exclusive
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import Backend, SubmissionForm, SubmissionState
from hpcorch.runtime.context.claim import claim
from hpcorch.runtime.context.held_signals import HeldSignals
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place, place_in
from hpcorch.services.local.processes import pool_id
from hpcorch.services.recording.program_sweep import RecordedSweep, WrappedProgram, record_program
from hpcorch.services.recording.submissions import Intent, SubmissionRecord
from hpcorch.slurm.job_environment import Job

SWEEPER = "exec"
_DIGEST_LENGTH = 12
_SOURCES = frozenset({".bash", ".jl", ".lua", ".m", ".pl", ".py", ".r", ".R", ".rb", ".sh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command to be recorded.

    :param name: what its sweep is called
    :param flags: of `hpcorch exec`, before the command
    :param leases: resources that it may lease, as the manifest has them
    :param options: how `hpcorch exec` was asked to treat it
    """

    argv: Sequence[str]
    name: str
    cwd: Path
    environ: Mapping[str, str]
    flags: Sequence[str] = ()
    leases: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def begin_own(ledger: Path, order: Order, job: Job | None, signals: HeldSignals) -> tuple[Place, JournalWriter]:
    """Record a command, or find what an earlier start of its job recorded of it, and claim its attempt.

    :raises RecordError: it cannot be recorded; nothing was executed
    :raises UnavailableError: likewise
    :raises Stopped: a signal that asks to end arrived before it was recorded
    """
    if job is not None:
        return _begin_in_job(ledger, order, job, signals)
    with signals.stops_raise():
        recorded = _recorded(ledger, order, job)
    _submit(recorded.journal, job)
    return _claimed(recorded.layout, AttemptId(run=0, submission=0, restart=0), job)


def _begin_in_job(ledger: Path, order: Order, job: Job, signals: HeldSignals) -> tuple[Place, JournalWriter]:
    """The k-th time that the job executes one command is the k-th sweep, in each start of the job."""
    folder = scripts_folder(ledger)
    make_folder(folder)
    name, attempt = sweep_name(order, job), attempt_in(job)
    with exclusive(folder / f".{name}.lock"):
        for candidate in _candidates(folder / name):
            layout = SweepLayout(candidate)
            if not candidate.exists():
                with signals.stops_raise():
                    recorded = _recorded(ledger, order, job, directory=candidate)
                _submit(recorded.journal, job)
            elif not _is_open(layout, attempt, job):
                continue
            return _claimed(layout, attempt, job)
    raise AssertionError("the candidates do not end")


def _recorded(ledger: Path, order: Order, job: Job | None, *, directory: Path | None = None) -> RecordedSweep:
    recorded = record_program(ledger, _wrapped(order, job), directory=directory)
    if recorded.frozen.trouble is not None:
        say(recorded.frozen.trouble)
    return recorded


def _claimed(layout: SweepLayout, attempt: AttemptId, job: Job | None) -> tuple[Place, JournalWriter]:
    place = place_in(layout, attempt, attempt.run, job)
    return place, claim(place)


def attempt_in(job: Job) -> AttemptId:
    """The attempt that this start of the job is, of a command's own run."""
    return AttemptId(run=job.index or 0, submission=0, restart=job.restart)


def recorded_for(ledger: Path, order: Order, job: Job) -> Iterator[SweepLayout]:
    """The sweeps of this command that the job has recorded so far."""
    for candidate in _candidates(scripts_folder(ledger) / sweep_name(order, job)):
        if not candidate.exists():
            return
        yield SweepLayout(candidate)


def sweep_name(order: Order, job: Job) -> str:
    """The name of the directory: the same for the same command, in the same place, in each start of a job."""
    words = [*order.argv, str(order.cwd), order.name]
    digest = hashlib.sha256(b"".join(os.fsencode(word) + b"\0" for word in words)).hexdigest()
    return f"{job.cluster or 'slurm'}-{job.element}-{digest[:_DIGEST_LENGTH]}"


def _candidates(first: Path) -> Iterator[Path]:
    yield first
    number = 2
    while True:
        yield first.with_name(f"{first.name}-{number}")
        number += 1


def _is_open(layout: SweepLayout, attempt: AttemptId, job: Job) -> bool:
    """Whether a recorded sweep is this job's, whole, and waits for this attempt."""
    try:
        submission = ControlJournal(layout).history().submissions.get(attempt.submission)
    except OSError:
        return False
    if submission is None or submission.state is not SubmissionState.RELEASED or submission.job_id != job.id:
        return False
    return not layout.journal(attempt).exists()


def _wrapped(order: Order, job: Job | None) -> WrappedProgram:
    return WrappedProgram(
        name=order.name,
        sweeper=SWEEPER,
        backend=Backend.LOCAL if job is None else Backend.SLURM,
        config={"command": list(order.argv)},
        folder=order.cwd,
        scripts=_scripts(order),
        cwd=order.cwd,
        argv=["hpcorch", SWEEPER, *order.flags, "--", *order.argv],
        environ=order.environ,
        indices=None if job is None or job.index is None else [job.index],
        options=order.options,
        leases=order.leases,
        cluster=None if job is None else job.cluster,
    )


def _scripts(order: Order) -> list[Path]:
    """The words of a command that name programs: what can be executed, and sources that an interpreter is given."""
    files = (order.cwd / word for word in order.argv if "/" in word or "." in word)
    return [file for file in files if _is_program(file)]


def _is_program(file: Path) -> bool:
    return os.path.isfile(file) and (file.suffix in _SOURCES or os.access(file, os.X_OK))  # noqa: PTH113 - any text


def _submit(journal: ControlJournal, job: Job | None) -> None:
    """Put on record what executes the run: this process, or the job that it is in."""
    is_array = job is not None and job.index is not None
    run = (job.index if job is not None else None) or 0
    form = SubmissionForm.SCRIPT_ARRAY if is_array else SubmissionForm.SCRIPT_JOB
    intent = Intent(launch=run, runs=[run], backend=Backend.LOCAL if job is None else Backend.SLURM, form=form)
    with journal.locked():
        record = SubmissionRecord.next(journal)
        record.intend(intent, durable=False)
        record.mark_accepted(
            pool_id(os.getpid()) if job is None else job.id,
            cluster=None if job is None else job.cluster,
            durable=False,
        )
        record.mark_released()
