"""The user's program as the work of an attempt: executed from what was frozen, up to its function and in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hpcorch.errors import DriftError, HpcorchError
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.manifest import FrozenRun
from hpcorch.model.events import AttemptCalled, AttemptEnded, AttemptSeeded
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.attempt.ends import ended_by, exit_code, leave, leave_as_program, log_size, stopped
from hpcorch.runtime.attempt.lifecycle import offered
from hpcorch.runtime.attempt.prepare import Prepared, prepare
from hpcorch.runtime.attempt.requeue import may_requeue
from hpcorch.runtime.attempt.results import encode_error, encode_result
from hpcorch.runtime.context.claim import earlier_end, superseded_by, was_asked_to_end
from hpcorch.runtime.context.drift import Recorder
from hpcorch.runtime.context.output import say, show_error
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import ASKED_SIGNAL, SignalOwner
from hpcorch.runtime.program.execution import of_program
from hpcorch.runtime.run.run import Run, as_current
from hpcorch.runtime.run.seeding import Seeding

if TYPE_CHECKING:
    from hpcorch.runtime.attempt.rebalancing import Sharing
    from hpcorch.runtime.program.call import Called
    from hpcorch.runtime.run.active import ActiveRun


class FunctionWork:
    """A call of the user's function, as one rank of the run.

    :param journal: None on ranks other than 0, which record nothing
    """

    def __init__(self, place: Place, signals: SignalOwner, journal: JournalWriter | None) -> None:
        self._place = place
        self._signals = signals
        self._journal = journal
        self._prepared: Prepared | None = None
        self._run: ActiveRun | None = None
        self._seeding: Seeding | None = None
        self._sharing: Sharing | None = None
        self._is_called = False

    def skipped(self) -> AttemptEnded | None:
        """Nothing is executed if the run has ended or a later attempt executes it; rank 0 decides."""
        layout, attempt = self._place.layout, self._place.attempt
        if self._journal is None:
            return None
        if (later := superseded_by(layout, attempt)) is not None:
            return AttemptEnded(
                outcome=AttemptOutcome.SUPERSEDED.value, exit_code=0, reason=f"attempt {later} has taken over"
            )
        if (ended := earlier_end(layout, attempt)) is not None:
            say(f"run {attempt.run} was completed by attempt {ended}; nothing to do")
            return AttemptEnded(
                outcome=AttemptOutcome.SKIPPED.value, exit_code=0, reason=f"completed by attempt {ended}"
            )
        if was_asked_to_end(layout, attempt):
            say(f"run {attempt.run} was asked to end while an earlier attempt ran; nothing is executed")
            return stopped(ASKED_SIGNAL)
        return None

    def prepare(self, frozen: FrozenRun, note: Recorder) -> None:
        """Verify code and environment. The configuration is verified when the program has called the function.

        The run creates its checkpoint folder itself.

        :raises DriftError: they are not what was submitted
        """
        environ = offered(frozen, self._place.attempt, Path(frozen.run.directory) / "checkpoints")
        self._prepared = prepare(self._place, frozen, environ, note)

    def seed(self, seed: int) -> list[str]:
        """Seed ``random``, and other libraries as soon as the program imports them: it may seed them otherwise."""
        self._seeding = Seeding.begin(seed)
        return self._seeding.seeded

    def call(self) -> AttemptCalled:
        """Ranks other than 0 only need to see it."""
        return AttemptCalled()

    def execute(self, conclude: Callable[[AttemptEnded], AttemptEnded]) -> AttemptEnded:
        """Execute the program up to its call of the function, and call that with the run's configuration.

        :raises BaseException: what the program raises before that call
        """
        from hpcorch.runtime.run.active import ActiveRun

        prepared = self._prepared
        assert prepared is not None
        # Assumes that the attempt makes progress: whether it did is known when it ends.
        if self._journal is not None and self._may_requeue(has_progressed=True):
            self._signals.stop_on_warning()
        self._share()
        active = self._run = ActiveRun(self._place, prepared.frozen.header, self._signals, self._journal)
        prepared.drift.record = active.record
        with ExitStack() as until_end:
            until_end.enter_context(self._signals.stops_raise())
            until_end.enter_context(as_current(Run(os.environ, active)))

            def run(function: Callable[[Any], Any]) -> NoReturn:
                try:
                    called = self._call(function, prepared)
                    if os.getpid() == leader:
                        end = self._ended(prepared, active, called)
                except BaseException as error:
                    if os.getpid() != leader:
                        raise
                    end = self.failed(error)
                if os.getpid() != leader:
                    leave_as_program(called)
                until_end.close()
                leave(conclude(end).exit_code)

            leader = os.getpid()
            prepared.execute(run)

    def _call(self, function: Callable[[Any], Any], prepared: Prepared) -> Called:
        """Compose, and call the function. What stops it, and is no failure of its own, leaves as an exception."""
        from hpcorch.runtime.program.call import call_function

        assert self._run is not None
        assert self._seeding is not None
        self._is_called = True
        hydra_context, config = prepared.configure(self._place)
        self._run.record(prepared.verified)
        if libraries := self._seeding.news():
            self._run.record(AttemptSeeded(seed=self._seeding.seed, libraries=libraries))
        return call_function(function, config, hydra_context)

    def _ended(self, prepared: Prepared, run: ActiveRun, called: Called) -> AttemptEnded:
        if called.error is not None:
            self._signals.look_for_stop()
        if self._journal is not None and self._signals.stopped_by is None:  # who is stopped has no time for it
            prepared.look(late=True)
        return self._returned(run, called)

    def _returned(self, run: ActiveRun, called: Called) -> AttemptEnded:
        if isinstance(called.error, DriftError):
            raise called.error
        if called.error is not None:
            end = self.failed(called.error)
            return replace(end, working_dir=called.working_dir, task_name=called.task_name)
        if run.was_told_to_stop:
            return stopped(self._signals.stopped_by or signal.SIGTERM.name)
        if self._journal is None:
            return AttemptEnded(outcome=AttemptOutcome.COMPLETED.value, exit_code=0)  # rank 0 has the result
        encoded = encode_result(called.value, self._place.layout, self._place.attempt)
        return AttemptEnded(
            outcome=AttemptOutcome.COMPLETED.value,
            exit_code=0,
            log_end=log_size(),
            working_dir=called.working_dir,
            task_name=called.task_name,
            result=encoded.result,
            result_pickle=encoded.result_pickle,
            result_file=encoded.result_file,
            result_digest=encoded.result_digest,
        )

    def failed(self, error: BaseException) -> AttemptEnded:
        """The end that an exception means, which is shown as Python would have shown it.

        What a task raises while it is being stopped is a consequence: a save cut short, a dead worker.
        """
        if (meant := ended_by(error)) is not None:
            return meant
        if self._run is None and isinstance(error, HpcorchError):
            say(str(error))
            return AttemptEnded(outcome=AttemptOutcome.FAILED.value, exit_code=error.exit_code, reason=str(error))
        error.__traceback__ = of_program(error)
        show_error(error)
        self._say_if_before_call()
        encoded = encode_error(error)
        end = AttemptEnded(
            outcome=AttemptOutcome.FAILED.value,
            exit_code=exit_code(error),
            log_end=log_size(),
            error=encoded.error,
            traceback=encoded.traceback,
            error_pickle=encoded.error_pickle,
        )
        if self._signals.stopped_by is None:
            return end
        stop = stopped(self._signals.stopped_by)
        return replace(end, outcome=stop.outcome, exit_code=stop.exit_code, signal=stop.signal)

    def _say_if_before_call(self) -> None:
        """That a job begins where the program begins explains a failure that the launch did not meet there."""
        if self._run is None or self._is_called or self._prepared is None:
            return
        if (invocation := self._prepared.task.invocation) is not None:
            say(
                f"this was before the call of {invocation.function}: a job executes the program from its beginning."
                " Where that cannot be repeated, hydra.launcher.entry=function sends the function alone"
            )

    def close(self, end: AttemptEnded) -> None:  # noqa: ARG002 - the same whatever the end
        """Record what the task has logged last."""
        if self._run is None:
            return
        try:
            self._run.close()
        except Exception as error:  # noqa: BLE001 - the end must be on record, whatever the task has logged
            say(f"the last metrics of the task cannot be recorded ({type(error).__name__}: {error})")

    def may_requeue(self) -> bool:
        """Up to the limit of the launch, and beyond it as long as each attempt saves a later checkpoint."""
        return self._may_requeue(has_progressed=self._run is not None and self._run.has_progressed)

    def _may_requeue(self, *, has_progressed: bool) -> bool:
        if self._prepared is None:
            return False
        header = self._prepared.frozen.header
        if header.requeue_while_progress and has_progressed:
            return True
        return may_requeue(self._place, most=header.max_num_timeout)

    def leave(self, end: AttemptEnded, *, requeued: bool) -> None:
        """Pass shared resources on to waiting runs, and end no sooner than Slurm allows."""
        if self._sharing is not None:
            self._sharing.end(look=end.signal is None)  # an attempt that must stop has no time for it
        is_stopped = end.ended_as is AttemptOutcome.STOPPED and not requeued
        if self._journal is None and is_stopped:
            from hpcorch.runtime.attempt.lingering import linger_behind  # few runs need this

            linger_behind(self._place)
        elif end.signal == signal.SIGTERM.name and self._place.tasks > 1:
            from hpcorch.runtime.attempt.lingering import linger

            linger(self._place)

    def _share(self) -> None:
        assert self._prepared is not None
        folder = self._prepared.frozen.header.throttle_folder
        if folder is not None and self._journal is not None:
            from hpcorch.runtime.attempt.rebalancing import Sharing  # most tasks share nothing

            self._sharing = Sharing(Path(folder))
            self._sharing.begin()
