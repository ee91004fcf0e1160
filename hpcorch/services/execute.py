"""`hpcorch exec`: a command is executed in the place of this process, and what becomes of it is on record.

In a job of `hpcorch sbatch` it is a step of the attempt that the script is, and Slurm tells how that ends.
Elsewhere it is a sweep of one run by itself, which ends as the command does.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcorch.errors import HpcorchError
from hpcorch.journal.layout import SweepLayout, default_ledger
from hpcorch.journal.manifest import FrozenRun, read_run
from hpcorch.model.events import AttemptClaimed, LeaseReported
from hpcorch.model.ids import AttemptId
from hpcorch.process import CommandMissingError
from hpcorch.runtime.command import NOT_EXECUTABLE, NOT_FOUND, Command, Limits
from hpcorch.runtime.command_result import Found, ResultFile
from hpcorch.runtime.command_signals import HeldSignals
from hpcorch.runtime.output import say
from hpcorch.runtime.place import cpu_count, log_file
from hpcorch.runtime.prepare import newest_entry
from hpcorch.runtime.shared_journal import SharedJournal
from hpcorch.runtime.signals import Stopped
from hpcorch.services.command_leases import CommandLeases, lease_terms
from hpcorch.services.command_record import CommandRecord, RunRecord, StepRecord, exit_code_of, log_size
from hpcorch.services.command_requeue import Treatment, limits_of, requeue
from hpcorch.services.job_here import Job, job_here
from hpcorch.services.script_steps import script_attempt

_HASH_SEED = "PYTHONHASHSEED"


def execute(argv: Sequence[str], treatment: Treatment, *, ledger: Path | None) -> int:
    """Execute a command, and return its exit code, as a shell has it.

    :param ledger: that a sweep of its own is announced to; None for the one that serves the working directory
    :raises UsageError: a lease that is asked for cannot be had; nothing was executed
    :raises RecordError: the command cannot be recorded; nothing was executed
    :raises UnavailableError: likewise, or the leases cannot be had
    """
    job = job_here(os.environ)
    terms = lease_terms(treatment.leases, Path.cwd())
    record = _begin(argv, treatment, job, terms, ledger)
    limits = limits_of(treatment, job, record.layout, record.attempt)
    signals = HeldSignals()
    frozen = read_run(record.layout.manifest(record.batch), record.attempt.run)
    record.seeded(frozen.run.seed)

    def note(fact: LeaseReported) -> None:
        with signals.deferred():
            record.note(fact)

    leases = CommandLeases(terms, f"{frozen.header.sweep}/{frozen.run.run}", note)
    try:
        with signals.stops_raise():
            leases.take()
        return _Execution(argv, treatment, record, signals, leases).run(variables(frozen, record), limits, job)
    except Stopped as stop:
        code = exit_code_of(stop.name)
        record.not_started(code, f"stopped by {stop.name} before the command started", stopped_by=stop.name)
        return code
    except HpcorchError as error:
        record.not_started(error.exit_code, str(error))
        raise
    finally:
        leases.give_back()


def _begin(
    argv: Sequence[str], treatment: Treatment, job: Job | None, terms: Mapping[str, Any], ledger: Path | None
) -> CommandRecord:
    mine = script_attempt(os.environ, job) if job is not None else None
    if mine is not None:
        path = mine.layout.journal(mine.attempt)
        journal = SharedJournal(path, lambda: _claimed(job, log_offset=None))
        return StepRecord(mine.layout, mine.attempt, mine.batch, journal, argv)
    from hpcorch.services.command_sweep import Order, begin_here, begin_in_job  # steps do without

    order = Order(
        argv=argv,
        name=treatment.name or Path(argv[0]).name.encode("utf-8", "backslashreplace").decode(),
        cwd=Path.cwd(),
        environ={_HASH_SEED: "0", **os.environ},
        leases=terms,
        options=_options(treatment),
    )
    path, claimed = ledger or default_ledger(Path.cwd()), _claimed(job, log_offset=log_size())
    own = begin_here(path, order, claimed) if job is None else begin_in_job(path, order, job, claimed)
    return RunRecord(own.layout, own.attempt, own.batch, own.journal, argv, in_job=job is not None)


def _options(treatment: Treatment) -> dict[str, Any]:
    """How the command is treated, for the record: what is not as it is by itself."""
    given = {
        "leases": dict(treatment.leases) or None,
        "result": None if treatment.result is None else str(treatment.result),
        "grace_s": treatment.grace_s,
        "requeue": treatment.requeue or None,
        "signal_delay_s": treatment.signal_delay_s if treatment.requeue else None,
        "max_requeues": treatment.max_requeues if treatment.requeue else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _claimed(job: Job | None, *, log_offset: int | None) -> AttemptClaimed:
    log = log_file()
    return AttemptClaimed(
        host=(job.node if job is not None else None) or socket.gethostname(),
        pid=os.getpid(),
        job_id=None if job is None else job.raw_id,
        array_job_id=None if job is None else job.array_id,
        array_task=None if job is None else job.index,
        log=str(log) if log else None,
        log_offset=log_offset if log else None,
        python=sys.executable,
        cpus=cpu_count(),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
        nodes=None if job is None else job.nodes,
    )


def variables(frozen: FrozenRun, record: CommandRecord) -> dict[str, str]:
    """The environment of the command. Its checkpoint directory is made; all attempts of its run have the same."""
    checkpoints = checkpoint_folder(record.layout, record.attempt)
    checkpoints.mkdir(parents=True, exist_ok=True)
    return {
        _HASH_SEED: "0",  # sets of strings iterate alike in every attempt, unless the user chose another
        **os.environ,
        "HPCORCH_SWEEP": frozen.header.sweep,
        "HPCORCH_RUN": f"{frozen.header.sweep}/{frozen.run.run}",
        "HPCORCH_ATTEMPT": str(record.attempt),
        "HPCORCH_SEED": str(frozen.run.seed),
        "HPCORCH_RUN_DIR": frozen.run.directory,
        "HPCORCH_CHECKPOINT_DIR": str(checkpoints),
        "HPCORCH_RESUME": str(newest_entry(checkpoints) or ""),
    }


def checkpoint_folder(layout: SweepLayout, attempt: AttemptId) -> Path:
    """Where the commands of a run find what its earlier attempts saved."""
    return layout.directory / str(attempt.run) / "checkpoints"


class _Execution:
    """One execution of a command, once its leases are held."""

    def __init__(
        self,
        argv: Sequence[str],
        treatment: Treatment,
        record: CommandRecord,
        signals: HeldSignals,
        leases: CommandLeases,
    ) -> None:
        self._argv = argv
        self._record = record
        self._signals = signals
        self._leases = leases
        self._result = None if treatment.result is None else ResultFile(treatment.result)

    def run(self, environ: Mapping[str, str], limits: Limits, job: Job | None) -> int:
        try:
            command = Command(self._argv, environ, self._signals, limits, self._leases.look)
        except CommandMissingError as error:
            return self._not_started(error)
        self._record.started(command.pid)
        ended = command.wait()
        self._leases.give_back()
        found = Found() if self._result is None else self._result.read()
        if found.problem is not None:
            say(found.problem)
        self._record.ended(ended, found)
        if ended.warned and job is not None:
            requeue(job, self._signals)
        return ended.exit_code

    def _not_started(self, error: CommandMissingError) -> int:
        is_missing = getattr(error.__cause__, "errno", None) == errno.ENOENT
        code = NOT_FOUND if is_missing else NOT_EXECUTABLE
        say(str(error))
        self._record.not_started(code, str(error))
        return code
