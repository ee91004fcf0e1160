"""A command as the work of an attempt: this process starts it, and passes signals on until it has ended."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError, UnavailableError
from hpcorch.journal.access import access_in, make_output_folder
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.manifest import FrozenRun
from hpcorch.model.events import AttemptCalled, AttemptEnded, CommandEnded, CommandStarted, JobObserved
from hpcorch.model.ids import utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import AttemptOutcome
from hpcorch.process import CommandMissingError
from hpcorch.runtime.attempt.ends import ended_by
from hpcorch.runtime.attempt.lifecycle import offered
from hpcorch.runtime.context.claim import earlier_end
from hpcorch.runtime.context.drift import Recorder
from hpcorch.runtime.context.held_signals import STOPS, HeldSignals
from hpcorch.runtime.context.output import say, show_error
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import WARNING_SIGNAL, Stopped
from hpcorch.services.exec.begin import HASH_SEED, Begun, Call
from hpcorch.services.exec.end import attempt_end
from hpcorch.services.exec.leases import CommandLeases
from hpcorch.services.exec.process import NOT_EXECUTABLE, NOT_FOUND, Command, Limits
from hpcorch.services.exec.result_file import Found, ResultFile
from hpcorch.services.exec.script_step import look_for_drift
from hpcorch.services.exec.time_limit import limits_of

_EXIT_FAILED = 1


class CommandWork:
    """One execution of a command. Of several ranks the first has the record, the leases and the result."""

    def __init__(self, call: Call, begun: Begun, signals: HeldSignals) -> None:
        self._call = call
        self._place: Place = begun.place
        self._journal = begun.journal
        self._is_step = begun.is_step
        self._is_first = begun.is_first
        self._limits = begun.limits
        self._signals = signals
        self._frozen: FrozenRun | None = None
        self._leases: CommandLeases | None = None
        self._step: int | None = None
        self._has_ended = False

    def skipped(self) -> None:
        """A command is executed again, whatever became of it before; it is told if it had completed."""
        if self._is_step or self._place.rank > 0:
            return
        if (earlier := earlier_end(self._place.layout, self._place.attempt)) is not None:
            say(f"attempt {earlier} has completed this command before the job was requeued; it is executed again")

    def prepare(self, frozen: FrozenRun, note: Recorder) -> None:
        """Tell of code that changed since the script was submitted, once, and wait for the leases.

        :raises UsageError: their directory cannot be used
        :raises UnavailableError: the file system does not answer
        """
        self._frozen = frozen
        if self._is_first:
            look_for_drift(frozen.header, note)
        if self._limits is None:
            self._limits = limits_of(self._call.treatment, self._place)
        if self._place.rank == 0:
            self._leases = CommandLeases(self._call.terms, f"{frozen.header.sweep}/{frozen.run.run}", note)
            self._leases.take()

    def seed(self, seed: int) -> list[str]:  # noqa: ARG002 - the command finds it in its environment
        """Nothing is seeded in this process."""
        return []

    def call(self) -> AttemptCalled:
        """What bounds the life of the command, for the other ranks."""
        job, limits = self._place.job, self._limits or Limits()
        step = None if job is None else job.step
        return AttemptCalled(step=step, warn_at=limits.warn_at, kill_at=limits.kill_at)

    def execute(self, conclude: Callable[[AttemptEnded], AttemptEnded]) -> AttemptEnded:  # noqa: ARG002 - nothing of it runs after its end
        """Start the command, and wait for its end."""
        treatment, look = self._call.treatment, None if self._leases is None else self._leases.look
        leads = self._place.rank == 0
        result = ResultFile(treatment.result) if leads and treatment.result is not None else None
        try:
            command = Command(self._call.argv, self._environ(), self._signals, self._limits or Limits(), look)
        except CommandMissingError as error:
            return _not_startable(error)
        step = self._step = self._journal.start(lambda step: self._started(command.pid, step))
        ended = command.wait()
        self._give_back()
        found = Found() if result is None else result.read()
        if found.problem is not None:
            say(found.problem)
        if (asked := WARNING_SIGNAL if ended.warned else ended.asked_by) is not None:
            self._signals.received(asked)
        self._has_ended = True
        self._journal.append(
            CommandEnded(
                step=step,
                exit_code=ended.exit_code,
                signal=ended.signal,
                seconds=round(ended.seconds, 3),
                result=found.result,
                problem=found.problem,
            ),
            durable=True,
        )
        return attempt_end(ended, found, in_job=self._place.job is not None)

    def failed(self, error: BaseException) -> AttemptEnded:
        """The end of a command that was not started, or of one that this process has lost sight of."""
        if (end := ended_by(error)) is not None:
            if isinstance(error, Stopped):
                return replace(end, reason=f"stopped by {error.name} before the command started")
            return end
        if isinstance(error, HpcorchError):
            say(str(error))
            return AttemptEnded(outcome=AttemptOutcome.FAILED.value, exit_code=error.exit_code, reason=str(error))
        show_error(error)
        return AttemptEnded(
            outcome=AttemptOutcome.FAILED.value, exit_code=_EXIT_FAILED, reason=f"{type(error).__name__}: {error}"
        )

    def close(self, end: AttemptEnded) -> None:
        """Give the leases back, and put on record why a command was not started."""
        self._give_back()
        if self._has_ended:
            return
        if self._step is None:
            self._step = self._journal.start(lambda step: self._started(os.getpid(), step))
        self._journal.append(
            CommandEnded(step=self._step, exit_code=end.exit_code, signal=end.signal, problem=end.reason)
        )

    def may_requeue(self) -> bool:
        """A command that was warned is one whose job may be requeued."""
        return True

    def leave(self, end: AttemptEnded, *, requeued: bool) -> None:
        """Wait for Slurm to end a job that was requeued: what comes next in the script is not to begin."""
        if requeued:
            deadline = time.monotonic() + tunables.REQUEUED_ENDS_S
            while (left := deadline - time.monotonic()) > 0:
                arrived = self._signals.next(left)
                if arrived is not None and arrived.number in STOPS:
                    return
        elif end.ended_as is AttemptOutcome.STOPPED and self._place.job is None:
            self._tell_of_stop(end)

    def _tell_of_stop(self, end: AttemptEnded) -> None:
        """Outside of a job nobody else knows why a command was stopped."""
        attempt = self._place.attempt
        word = JobObserved(
            submission=attempt.submission,
            run=attempt.run,
            restart=attempt.restart,
            state=JobState.CANCELLED.value,
            witness=Witness.LOCAL.value,
            reason=f"stopped by {end.signal}",
            exit_code=end.exit_code,
            end=utc_now(),
        )
        try:
            ControlJournal(self._place.layout).append(word)
        except (OSError, UnavailableError) as error:
            say(f"cannot record that the command was stopped: {error}")

    def _environ(self) -> dict[str, str]:
        """The environment of the command. Its checkpoint folder is made; all attempts of its run have the same."""
        assert self._frozen is not None
        attempt = self._place.attempt
        checkpoints = self._place.layout.directory / str(attempt.run) / "checkpoints"
        make_output_folder(checkpoints, access=access_in(self._place.layout.state))
        # Sets of strings iterate alike in every attempt, unless the user chose another seed of hashes.
        return {HASH_SEED: "0", **os.environ, **offered(self._frozen, attempt, checkpoints)}

    def _give_back(self) -> None:
        if self._leases is not None:
            self._leases.give_back()

    def _started(self, pid: int, step: int) -> CommandStarted:
        return CommandStarted(
            step=step,
            argv=list(self._call.argv),
            cwd=str(Path.cwd()),
            host=socket.gethostname(),
            pid=pid,
            flags=self._call.treatment.flags or None,
        )


def _not_startable(error: CommandMissingError) -> AttemptEnded:
    is_missing = getattr(error.__cause__, "errno", None) == errno.ENOENT
    say(str(error))
    return AttemptEnded(
        outcome=AttemptOutcome.FAILED.value,
        exit_code=NOT_FOUND if is_missing else NOT_EXECUTABLE,
        reason=str(error),
    )
