"""One attempt of one run, in order: claim, verify, seed, call, end. Each step is a fact in the journal."""

from __future__ import annotations

import os
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.errors import DriftError, RecordError
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.events import (
    AttemptCalled,
    AttemptEnded,
    AttemptSeeded,
    AttemptSignalled,
    Fact,
)
from hpcorch.model.signals import EXIT_SIGNAL_BASE
from hpcorch.runtime.attempt.prepare import Prepared, prepare
from hpcorch.runtime.attempt.requeue import may_requeue, requeue
from hpcorch.runtime.attempt.results import encode_error, encode_result
from hpcorch.runtime.context.claim import SupersededError, claim, earlier_end, superseded_by, was_asked_to_end
from hpcorch.runtime.context.output import flush, say, show_error
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import ASKED_SIGNAL, WARNING_SIGNAL, SignalOwner, Stopped
from hpcorch.runtime.run.run import as_current
from hpcorch.runtime.run.seeding import seed_libraries

if TYPE_CHECKING:
    from hpcorch.runtime.attempt.rebalancing import Sharing
    from hpcorch.runtime.run.active import ActiveRun

EXIT_FAILED = 1


def lead(place: Place, signals: SignalOwner) -> int:
    """Execute the attempt as rank 0 and return the exit code for Slurm.

    Every way out that Python can see ends with an ``attempt-ended`` fact; a way that it cannot see (SIGKILL, a
    dead node) leaves none, and the scheduler is asked instead.

    :raises RecordError: another process has claimed this attempt, and nothing was done; or the end is not recorded
    """
    leader = os.getpid()
    with claim(place) as journal:
        attempt = _Attempt(place, journal, signals)
        end = attempt.end()
        if os.getpid() != leader:
            os._exit(end.exit_code)  # a process that the task forked came back from it; its parent records the end
        _record(end, journal, signals)
    attempt.let_others_in(stopped=end.signal is not None)
    if end.signal == WARNING_SIGNAL and attempt.may_requeue():
        requeue(place)
    elif end.signal == signal.SIGTERM.name and place.tasks > 1:
        from hpcorch.runtime.attempt.lingering import (
            linger,  # few runs come here, and every run would wait for the import
        )

        linger(place)
    return end.exit_code


def _record(end: AttemptEnded, journal: JournalWriter, signals: SignalOwner) -> None:
    try:
        for name in signals.unrecorded():
            journal.append(AttemptSignalled(signal=name))
        journal.append(end, durable=True)
    except OSError as error:
        raise RecordError(
            f"the attempt ended as {end.outcome}, and that cannot be recorded, because {journal.path} cannot be"
            f" written ({error.strerror}): it counts as failed. Free space or inodes there, and retry the run"
        ) from error


class _Attempt:
    """The steps of one attempt, up to its end."""

    def __init__(self, place: Place, journal: JournalWriter, signals: SignalOwner) -> None:
        self._place = place
        self._journal = journal
        self._signals = signals
        self._header: ManifestHeader | None = None
        self._run: ActiveRun | None = None
        self._sharing: Sharing | None = None

    def end(self) -> AttemptEnded:
        """Execute the attempt; how it ended."""
        try:
            end = self._attempted()
        except Stopped as stop:
            end = _stopped(stop.name)
        except SupersededError as error:
            say(str(error))
            return AttemptEnded(outcome="superseded", exit_code=0, reason=str(error))
        except DriftError as error:
            say(str(error))
            return AttemptEnded(outcome="refused", exit_code=DriftError.exit_code, reason=str(error))
        except BaseException as error:  # noqa: BLE001 - whatever went wrong must be on record
            end = _failed(error)
        self._close_run()
        if end.outcome == "failed" and self._signals.stopped_by is not None:
            # What a task raises while it is being stopped is a consequence: a save cut short, a dead worker.
            stopped = _stopped(self._signals.stopped_by)
            return replace(end, outcome="stopped", exit_code=stopped.exit_code, signal=stopped.signal)
        return end

    def _close_run(self) -> None:
        if self._run is None:
            return
        try:
            self._run.close()
        except Exception as error:  # noqa: BLE001 - the end must be on record, whatever the task has logged
            say(f"what the task logged last cannot be recorded ({type(error).__name__}: {error})")

    def may_requeue(self) -> bool:
        """Whether the attempt, stopped near its time limit, may go back into the queue."""
        if self._header is None:
            return False
        progressed = self._run is not None and self._run.has_progressed
        return may_requeue(self._place, self._header, has_progressed=progressed)

    def let_others_in(self, *, stopped: bool) -> None:
        """See to it that others get what the task has shared with them; who was told to stop has no time for it."""
        if self._sharing is not None:
            self._sharing.end(look=not stopped)

    def _attempted(self) -> AttemptEnded:
        place = self._place
        if (later := superseded_by(place.layout, place.attempt)) is not None:
            return AttemptEnded(outcome="superseded", exit_code=0, reason=f"attempt {later} has taken over")
        if (ended := earlier_end(place.layout, place.attempt)) is not None:
            say(f"run {place.attempt.run} was completed by attempt {ended}; nothing to do")
            return AttemptEnded(outcome="skipped", exit_code=0, reason=f"completed by attempt {ended}")
        if was_asked_to_end(place.layout, place.attempt):
            say(f"run {place.attempt.run} was asked to end while an earlier attempt ran; nothing is executed")
            return _stopped(ASKED_SIGNAL)
        with self._signals.stops_raise():
            prepared = prepare(place, self._note)
        frozen = prepared.frozen
        self._journal.append(prepared.verified)
        self._journal.append(AttemptSeeded(seed=frozen.run.seed, libraries=seed_libraries(frozen.run.seed)))
        # Ranks other than 0 begin when they see the next fact, and must find the run's directory.
        Path(frozen.run.directory).mkdir(parents=True, exist_ok=True)
        self._journal.append(AttemptCalled(), durable=place.tasks > 1)
        self._header = frozen.header
        # With the best progress that it can make: whether it has made it is known when it ends.
        if may_requeue(place, frozen.header, has_progressed=True):
            self._signals.stop_on_warning()
        return self._called(prepared)

    def _note(self, fact: Fact) -> None:
        with self._signals.deferred():
            self._journal.append(fact)

    def _called(self, prepared: Prepared) -> AttemptEnded:
        from hpcorch.runtime.program.call import call_task
        from hpcorch.runtime.run.active import ActiveRun

        self._share(prepared.frozen.header)
        run = self._run = ActiveRun(self._place, prepared.frozen, self._signals, self._journal)
        prepared.drift.record = run.record
        os.register_at_fork(after_in_child=run.leave)
        with self._signals.stops_raise(), as_current(run):
            called = call_task(prepared.task, prepared.config)
        if called.error is not None:
            self._signals.look_for_stop()
        if self._signals.stopped_by is None:  # who was told to stop has no time for it
            prepared.look(late=True)
        if isinstance(called.error, DriftError):
            raise called.error
        if called.error is not None:
            prepared.explain(called.error)
            return _failed(called.error, working_dir=called.working_dir, task_name=called.task_name)
        if run.was_told_to_stop and self._signals.stopped_by is not None:
            return _stopped(self._signals.stopped_by)
        encoded = encode_result(called.value, self._place.layout, self._place.attempt)
        return AttemptEnded(
            outcome="completed",
            exit_code=0,
            log_end=_log_size(),
            working_dir=called.working_dir,
            task_name=called.task_name,
            result=encoded.result,
            result_pickle=encoded.result_pickle,
            result_file=encoded.result_file,
            result_digest=encoded.result_digest,
        )

    def _share(self, header: ManifestHeader) -> None:
        if header.throttle_folder is not None:
            from hpcorch.runtime.attempt.rebalancing import Sharing  # most tasks share nothing

            self._sharing = Sharing(Path(header.throttle_folder))
            self._sharing.begin()


def _failed(error: BaseException, *, working_dir: str | None = None, task_name: str | None = None) -> AttemptEnded:
    show_error(error)
    encoded = encode_error(error)
    return AttemptEnded(
        outcome="failed",
        exit_code=exit_code(error),
        log_end=_log_size(),
        working_dir=working_dir,
        task_name=task_name,
        error=encoded.error,
        traceback=encoded.traceback,
        error_pickle=encoded.error_pickle,
    )


def _stopped(signal_name: str) -> AttemptEnded:
    return AttemptEnded(
        outcome="stopped",
        exit_code=EXIT_SIGNAL_BASE + signal.Signals[signal_name].value,
        signal=signal_name,
        log_end=_log_size(),
    )


def exit_code(error: BaseException) -> int:
    """The exit code of a task that raised: what it asked for with ``sys.exit(n)``, else 1; never 0."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code & 0xFF or EXIT_FAILED  # the kernel keeps eight bits
    return EXIT_FAILED


def _log_size() -> int | None:
    """Where this attempt ends in its log, if the output is a file."""
    flush()
    try:
        status = os.fstat(1)
    except OSError:  # the task closed it
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
