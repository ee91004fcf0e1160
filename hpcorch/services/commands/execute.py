"""`hpcorch exec`: a command is executed in the place of this process, and what becomes of it is on record.

In a job of `hpcorch sbatch` it is a step of the attempt that the script is, and Slurm tells how that ends.
Elsewhere it is a sweep of one run by itself, which ends as the command does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import FrozenRun, read_run
from hpcorch.model.events import LeaseReported
from hpcorch.model.ids import AttemptId
from hpcorch.process import CommandMissingError
from hpcorch.runtime.attempt.prepare import newest_entry
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.signals import Stopped
from hpcorch.services.commands.begin import HASH_SEED, begin_command
from hpcorch.services.commands.held_signals import HeldSignals
from hpcorch.services.commands.job import job_here
from hpcorch.services.commands.leases import CommandLeases, lease_terms
from hpcorch.services.commands.process import NOT_EXECUTABLE, NOT_FOUND, Command, Ended, Limits
from hpcorch.services.commands.ranks import lead_on
from hpcorch.services.commands.record import CommandRecord, exit_code_of
from hpcorch.services.commands.result_file import Found, ResultFile
from hpcorch.services.commands.time_limit import Treatment, requeue


def execute(argv: Sequence[str], treatment: Treatment, *, ledger: Path | None) -> int:
    """Execute a command, and return its exit code, as a shell has it.

    :param ledger: that a sweep of its own is announced to; None for the one that serves the working directory
    :raises UsageError: a lease that is asked for cannot be had; nothing was executed
    :raises RecordError: the command cannot be recorded; nothing was executed
    :raises UnavailableError: likewise, or the leases cannot be had
    """
    job = job_here(os.environ)
    terms = lease_terms(treatment.leases, Path.cwd())
    record, limits = begin_command(argv, treatment, job, terms, ledger)
    leads = job is None or job.rank == 0  # of several ranks, the first holds the leases and has the result
    signals = HeldSignals()
    frozen = read_run(record.layout.manifest(record.launch), record.attempt.run)
    record.seeded(frozen.run.seed)

    def note(fact: LeaseReported) -> None:
        with signals.deferred():
            record.note(fact)

    leases = CommandLeases(terms if leads else {}, f"{frozen.header.sweep}/{frozen.run.run}", note)
    try:
        with signals.stops_raise():
            leases.take()
        lead_on(job, record, limits)
        result = ResultFile(treatment.result) if leads and treatment.result is not None else None
        execution = _Execution(argv, record, signals, leases, result)
        ended = execution.run(variables(frozen, record), limits)
    except Stopped as stop:
        code = exit_code_of(stop.name)
        record.not_started(code, f"stopped by {stop.name} before the command started", stopped_by=stop.name)
        return code
    except HpcorchError as error:
        record.not_started(error.exit_code, str(error))
        raise
    finally:
        leases.give_back()
    if ended.warned and leads and job is not None:
        requeue(job, signals)
    return ended.exit_code


def variables(frozen: FrozenRun, record: CommandRecord) -> dict[str, str]:
    """The environment of the command. Its checkpoint directory is made; all attempts of its run have the same."""
    checkpoints = checkpoint_folder(record.layout, record.attempt)
    checkpoints.mkdir(parents=True, exist_ok=True)
    return {
        HASH_SEED: "0",  # sets of strings iterate alike in every attempt, unless the user chose another
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
        record: CommandRecord,
        signals: HeldSignals,
        leases: CommandLeases,
        result: ResultFile | None,
    ) -> None:
        self._argv = argv
        self._record = record
        self._signals = signals
        self._leases = leases
        self._result = result

    def run(self, environ: Mapping[str, str], limits: Limits) -> Ended:
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
        return ended

    def _not_started(self, error: CommandMissingError) -> Ended:
        is_missing = getattr(error.__cause__, "errno", None) == errno.ENOENT
        code = NOT_FOUND if is_missing else NOT_EXECUTABLE
        say(str(error))
        self._record.not_started(code, str(error))
        return Ended(exit_code=code, seconds=0.0)
