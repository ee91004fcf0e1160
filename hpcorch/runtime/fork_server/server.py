"""A fork server: it executes the program up to its call of the function, and forks each run there.

``python -m hpcorch.runtime SWEEP_DIR … --serve DESCRIPTOR``. Code and environment are compared with what was frozen
once. What stands in the way of forking is said, and then nothing is forked: who asked starts each run by itself.
"""

from __future__ import annotations

import gc
import inspect
import os
import select
import signal
import socket
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from hpcorch.errors import HpcorchError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import Fact
from hpcorch.runtime.attempt.lifecycle import find_frozen
from hpcorch.runtime.attempt.prepare import Prepared, prepare
from hpcorch.runtime.attempt.task import check_directory, parser
from hpcorch.runtime.context.output import flush, show_error
from hpcorch.runtime.context.place import Place, find_place
from hpcorch.runtime.context.signals import HANDLED, end_group_of_orphan, terminate_with_parent
from hpcorch.runtime.context.startup_signals import release_signals
from hpcorch.runtime.fork_server.child import Started, become_task, end_forked, execute_forked, open_files
from hpcorch.runtime.fork_server.messages import Ended, Fork, Forked, Message, Ready, Refused, receive, send
from hpcorch.runtime.fork_server.obstacles import obstacle
from hpcorch.runtime.program.execution import NotCalledError
from hpcorch.runtime.run.seeding import Seeding


def serve(argv: Sequence[str] | None = None) -> int:
    """Serve until the channel is closed; in a process that was forked, the exit code of its run."""
    arguments = parser().parse_args(argv)
    os.environ.pop("PYTHONSAFEPATH", None)
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in HANDLED}
    release_signals()
    terminate_with_parent()
    channel = socket.socket(fileno=arguments.serve)
    channel.set_inheritable(False)
    layout = SweepLayout(arguments.sweep_dir, moves=tuple(map(tuple, arguments.moved)))
    return _Server(arguments, layout, channel, handlers).run()


class _Server:
    """One server, and after a fork the one run of its child."""

    def __init__(
        self, arguments: Any, layout: SweepLayout, channel: socket.socket, handlers: dict[int, Any]
    ) -> None:
        self._arguments = arguments
        self._layout = layout
        self._channel = channel
        self._handlers = handlers
        self._found: list[Fact] = []
        self._running: dict[int, int] = {}  # pid -> task
        self._server = os.getpid()
        self._task: int | None = None  # in a forked process, its own pid
        self._exit_code = 0  # likewise
        self._ours: frozenset[int] = frozenset()

    def run(self) -> int:
        """Execute the program, and serve where it calls its function."""
        try:
            prepared = self._prepared()
            self._ours = open_files()
            Seeding.begin(prepared.frozen.run.seed)
            prepared.execute(lambda function: self._at_call(prepared, function))
        except BaseException as error:
            if os.getpid() == self._server:
                self._refuse(_told(error))
            if os.getpid() != self._task:  # forked by the run: its end is its own
                raise
            if not isinstance(error, SystemExit):
                show_error(error)
            end_group_of_orphan(self._server)
            return end_forked(self._exit_code, self._ours)

    def _prepared(self) -> Prepared:
        """The program, compared with what was frozen.

        :raises HpcorchError: it is not what was frozen, or cannot be read
        """
        if self._arguments.sweep is not None:
            check_directory(self._layout, self._arguments.sweep)
        place = self._place(0)
        return prepare(place, find_frozen(place), {}, self._found.append)

    def _place(self, task: int) -> Place:
        arguments = self._arguments
        return find_place(
            self._layout,
            launch=arguments.launch,
            submission=arguments.submission,
            runs=arguments.runs,
            environ=os.environ,
            array_task=task,
            job_id=arguments.job_id,
        )

    def _at_call(self, prepared: Prepared, function: Callable[[Any], Any]) -> NoReturn:
        """Serve; in a forked process, execute its run and leave the program.

        Nothing but that leaves: what the program would catch must not go on in it.
        """
        try:
            prepared.called(function)
            why = self._obstacle(prepared.frozen.run.seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, runs that start by themselves will show it
            why = _told(error)
        if why is not None:
            self._refuse(why)
        self._tell(Ready())
        asked, descriptors = self._until_forked()
        self._task = os.getpid()
        become_task(asked.task, asked.environ, descriptors)
        started = Started(prepared=prepared, found=self._found, handlers=self._handlers)
        self._exit_code = execute_forked(replace(self._place(asked.task), forked=True), started, self._server)
        sys.exit(self._exit_code)

    def _obstacle(self, seed: int) -> str | None:
        if os.getpid() != self._server:
            return "it calls its function in a process that it has forked"
        return obstacle(seed, inspect.currentframe())

    def _until_forked(self) -> tuple[Fork, list[int]]:
        """Fork as asked, until the channel is closed. Returns in the forked processes only."""
        woken, told = os.pipe()
        for descriptor in (woken, told):
            os.set_blocking(descriptor, False)
        handled = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        woke = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy every page that holds an object
        while True:
            news = select.select([self._channel.fileno(), woken], [], [])[0]
            if woken in news:
                os.read(woken, select.PIPE_BUF)
                self._reap()
            if self._channel.fileno() not in news:
                continue
            if (received := receive(self._channel)) is None:
                _leave()
            asked, descriptors = received
            assert isinstance(asked, Fork)
            if (pid := _fork()) == 0:
                signal.set_wakeup_fd(woke)
                signal.signal(signal.SIGCHLD, handled)
                for descriptor in (woken, told):
                    os.close(descriptor)
                self._channel.close()
                return asked, descriptors
            for descriptor in descriptors:
                os.close(descriptor)
            self._running[pid] = asked.task
            self._tell(Forked(task=asked.task, pid=pid))

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            task = self._running.pop(pid, None)
            if task is not None:
                self._tell(Ended(task=task, returncode=os.waitstatus_to_exitcode(status)))

    def _tell(self, message: Message) -> None:
        try:
            send(self._channel, message)
        except OSError:
            _leave()

    def _refuse(self, why: str) -> NoReturn:
        self._tell(Refused(why=why))
        _leave()


def _fork() -> int:
    """As :func:`os.fork`. What asks the new process to end waits until it has its handlers."""
    flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    with warnings.catch_warnings():
        # Python counts threads of libraries as well: these see to it that they can be forked.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    return pid


def _told(error: BaseException) -> str:
    if isinstance(error, (HpcorchError, NotCalledError)):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it has ended with exit code {error.code or 0} before it called its function"
    return f"it has ended with {type(error).__name__}: {error}"


def _leave() -> NoReturn:
    """End the server. Exit hooks are for its runs to call; only folders that the program has made are removed."""
    weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # noqa: SLF001 - no other way to call them alone
    flush()
    os._exit(0)
