"""A run in a process that was forked: where the program has called its function, the process goes on as a task."""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import stat
import threading
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra._internal.logging_config  # noqa: F401 - so that no forked process has to import it

import hpcorch.runtime.run.active  # noqa: F401 - likewise
from hpcorch.errors import HpcorchError
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.manifest import FrozenRun
from hpcorch.model.events import Fact
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.function import FunctionWork
from hpcorch.runtime.attempt.lifecycle import Attempt, offered
from hpcorch.runtime.attempt.prepare import Prepared
from hpcorch.runtime.context.claim import claim
from hpcorch.runtime.context.drift import Recorder
from hpcorch.runtime.context.output import flush, say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import HANDLED, SignalOwner, end_with_parent
from hpcorch.runtime.fork_server.watch import open_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The program as its server has started it.

    :param prepared: with the function that the program has called
    :param found: what was found when it was compared with what was frozen: each run has it on record
    :param handlers: of signals, as they were before the program began
    :param blocked: the signals that it has blocked
    """

    prepared: Prepared
    found: Sequence[Fact]
    handlers: Mapping[int, Any]
    blocked: Collection[int]


class ForkedWork(FunctionWork):
    """The call of the function in a process whose program has been started already."""

    def __init__(self, place: Place, signals: SignalOwner, journal: JournalWriter, started: Started) -> None:
        super().__init__(place, signals, journal)
        self._started = started

    def prepare(self, frozen: FrozenRun, note: Recorder) -> None:
        """Go on from what the server has verified."""
        prepared = self._started.prepared
        for fact in self._started.found:
            note(fact)
        os.environ.update(offered(frozen, self._place.attempt, Path(frozen.run.directory) / "checkpoints"))
        prepared.frozen, prepared.drift.record = frozen, note
        if prepared.snapshot is not None:
            prepared.snapshot.follow_own_children()
        self._prepared = prepared


def become_task(environ: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Make this process, just forked, a task: a session, output and variables of its own.

    :param descriptors: of its standard output and standard error
    """
    os.setsid()
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(environ)
    # What the program has made, such as temporary folders, is for all runs: its server removes it at the end.
    for made in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
        made.atexit = False


def execute_forked(place: Place, started: Started, server: int) -> int:
    """Execute the attempt in this process, in which signals are blocked; its exit code.

    :param server: pid of the process that it was forked from
    """
    signals = _own_signals(started, server)
    try:
        with claim(place) as journal:
            work = ForkedWork(place, signals, journal, started)
            return Attempt(place=place, journal=journal, signals=signals, work=work).execute().exit_code
    except HpcorchError as error:
        say(str(error))
        return error.exit_code


def end_forked(exit_code: int, ours: Collection[int]) -> int:
    """End this process as Python ends one: threads are waited for, and exit hooks are called.

    What is left is not taken apart: that would copy all memory that is shared with the server. Only where a file is
    still open for writing this returns, since Python writes what is in its buffer as it takes it apart.

    :param ours: descriptors that were open before the program began
    :return: the exit code to leave with
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing ends what it has forked
    atexit._run_exitfuncs()  # noqa: SLF001 - likewise
    flush()
    if not any(map(_is_written, open_files().difference(ours))):
        os._exit(exit_code)
    return exit_code


def _is_written(descriptor: int) -> bool:
    """Whether a file is open for writing there. A file of ours has no name."""
    found = os.fstat(descriptor)
    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    return stat.S_ISREG(found.st_mode) and found.st_nlink > 0 and mode != os.O_RDONLY


def _own_signals(started: Started, server: int) -> SignalOwner:
    """The owner of this process's signals. Those that the program handles itself stay with it, as in any task."""
    of_program = {number: signal.getsignal(number) for number in HANDLED}
    signals = SignalOwner()
    signals.install()
    end_with_parent(server)
    for number, handler in of_program.items():
        if handler is not started.handlers[number]:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, started.blocked)
    return signals
