"""A fork server: it executes the program up to its call of the function, and forks each run there.

``python -m hpcorch.runtime SWEEP_DIR … --serve DESCRIPTOR``. Code and environment are compared with what was frozen
once. What stands in the way of forking is said, and then nothing is forked: who asked starts each run by itself.
"""

from __future__ import annotations

import atexit
import errno
import gc
import inspect
import os
import select
import signal
import socket
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from hpcorch.errors import HpcorchError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import Fact
from hpcorch.model.processes import FORKED_NAME
from hpcorch.runtime.attempt.lifecycle import find_frozen, offered
from hpcorch.runtime.attempt.prepare import Prepared, prepare
from hpcorch.runtime.attempt.task import check_directory, parser
from hpcorch.runtime.context.output import flush, show_error
from hpcorch.runtime.context.place import Place, find_place
from hpcorch.runtime.context.signals import HANDLED, end_group_of_orphan, end_with_parent, exit_on_termination
from hpcorch.runtime.context.startup_signals import release_signals
from hpcorch.runtime.fork_server.child import Started, become_task, end_forked, execute_forked
from hpcorch.runtime.fork_server.messages import (
    Ended,
    Fork,
    Forked,
    Message,
    NotForked,
    Ready,
    Refused,
    receive,
    send,
)
from hpcorch.runtime.fork_server.obstacles import obstacle
from hpcorch.runtime.fork_server.watch import Watch
from hpcorch.runtime.program.execution import NotCalledError
from hpcorch.runtime.run.seeding import Seeding

_SIGCHLD = {signal.SIGCHLD}
# Variables that a pool sets for each task.
_OF_A_TASK = ("CUDA_VISIBLE_DEVICES", "SUBMITIT_LOCAL_JOB_ID")


def serve(argv: Sequence[str] | None = None) -> int:
    """Serve until the channel is closed; in a process that was forked, the exit code of its run."""
    arguments = parser().parse_args(argv)
    os.environ.pop("PYTHONSAFEPATH", None)
    exit_on_termination()
    # The pool's id has the number of its process, which may have died before the kernel can be asked to tell.
    launcher = end_with_parent(int(arguments.job_id.rsplit(":", 2)[1]))
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in HANDLED}
    release_signals()
    channel = socket.socket(fileno=arguments.serve)
    channel.set_inheritable(False)
    # Whoever waits for the server's end sees it although a process that the program has forked lives on.
    os.register_at_fork(after_in_child=channel.close)
    server = _Server(arguments, channel, handlers)
    try:
        return server.run()
    finally:
        if server.is_here and os.getppid() != launcher:
            atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to call them before all is killed
            end_group_of_orphan(launcher)


class _Server:
    """One server, and after a fork the one run of its child.

    :ivar pid: the server's
    """

    def __init__(self, arguments: Any, channel: socket.socket, handlers: dict[int, Any]) -> None:
        self._arguments = arguments
        self._layout = SweepLayout(arguments.sweep_dir, moves=tuple(map(tuple, arguments.moved)))
        self._channel = channel
        self._handlers = handlers
        self._found: list[Fact] = []
        self._running: dict[int, int] = {}  # pid -> task
        self.pid = os.getpid()
        self._has_answered = False  # whether runs can be forked
        self._task: int | None = None  # in a forked process, its own pid
        self._exit_code = 0  # likewise
        self._ours: frozenset[int] = frozenset()

    @property
    def is_here(self) -> bool:
        """Whether this process is the server."""
        return os.getpid() == self.pid

    def run(self) -> int:
        """Execute the program, and serve where it calls its function."""
        try:
            prepared = self._prepared()
            seed = prepared.frozen.run.seed
            watch, seeding = self._watch(prepared), Seeding.begin(seed)
            prepared.execute(lambda function: self._at_call(prepared, watch, seeding, function))
        except BaseException as error:
            if self.is_here:
                self._refuse(_told(error))
                return 0
            if os.getpid() != self._task:  # forked by the run: its end is its own
                raise
            if not isinstance(error, SystemExit):
                show_error(error)
            end_group_of_orphan(self.pid)
            return end_forked(self._exit_code, self._ours)

    def _prepared(self) -> Prepared:
        """The program, compared with what was frozen.

        :raises HpcorchError: it is not what was frozen, or cannot be read
        """
        if self._arguments.sweep is not None:
            check_directory(self._layout, self._arguments.sweep)
        place = self._place(0)
        return prepare(place, find_frozen(place), {}, self._found.append)

    def _watch(self, prepared: Prepared) -> Watch:
        of_a_run = offered(prepared.frozen, self._place(0).attempt, self._layout.state)
        watch = Watch((*of_a_run, *_OF_A_TASK))
        self._ours = watch.descriptors
        return watch

    def _place(self, task: int, restart: int | None = None) -> Place:
        arguments = self._arguments
        return find_place(
            self._layout,
            launch=arguments.launch,
            submission=arguments.submission,
            runs=arguments.runs,
            environ=os.environ,
            array_task=task,
            job_id=arguments.job_id,
            restart=restart,
        )

    def _at_call(
        self, prepared: Prepared, watch: Watch, seeding: Seeding, function: Callable[[Any], Any]
    ) -> NoReturn:
        """Serve; in a forked process, execute its run and leave the program.

        Where nothing can be forked the program is left, too: what it does at its end, such as to remove its files,
        is to be done before it is started again.
        """
        watch.end()
        if (why := self._obstacle(prepared, watch, function)) is not None:
            self._refuse(why)
            sys.exit(0)
        self._tell(Ready())
        self._has_answered = True
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGCHLD)
        asked, descriptors = self._until_forked()
        self._task = os.getpid()
        seeding.end()
        become_task(asked.environ, descriptors)
        started = Started(prepared=prepared, found=self._found, handlers=self._handlers, blocked=blocked)
        self._exit_code = execute_forked(
            replace(self._place(asked.task, asked.restart), forked=True), started, self.pid
        )
        sys.exit(self._exit_code)

    def _obstacle(self, prepared: Prepared, watch: Watch, function: Callable[[Any], Any]) -> str | None:
        if not self.is_here:
            return "it calls its function in a process that it has forked"
        try:
            why = obstacle(prepared.frozen.run.seed, inspect.currentframe(), watch)
            if why is None:
                prepared.called(function)
        except Exception as error:  # noqa: BLE001 - whatever it is, runs that start by themselves will show it
            return _told(error)
        return why

    def _until_forked(self) -> tuple[Fork, list[int]]:
        """Fork as asked, until the channel is closed. Returns in the forked processes only."""
        woken, told = os.pipe()
        for descriptor in (woken, told):
            os.set_blocking(descriptor, False)
        handled: dict[int, Any] = {
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda _number, _frame: None),
            # Slurm asks all processes of a job to end: the server does so after its runs, with its channel.
            signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        }
        woke = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy every page that holds an object
        channel = self._channel.fileno()
        while True:
            news = select.select([channel, woken], [], [])[0]
            if woken in news:
                os.read(woken, select.PIPE_BUF)
                self._reap()
            if channel not in news:
                continue
            if (received := receive(self._channel)) is None:
                _leave()
            asked, descriptors = received
            assert isinstance(asked, Fork)
            if self._has_forked(asked):
                signal.set_wakeup_fd(woke)
                _restore(handled)
                _close([woken, told])
                return asked, descriptors
            _close(descriptors)

    def _has_forked(self, asked: Fork) -> bool:
        """Fork a process; true in that process. What asks it to end waits until it has its handlers."""
        flush()
        # By this file others find the process from its first moment on, whatever it calls itself.
        name = os.memfd_create(f"{FORKED_NAME}{asked.task}")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            with warnings.catch_warnings():
                # Python counts threads of libraries as well: what of them stands in the way was looked for.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            self._tell(NotForked(task=asked.task, error=error.errno or errno.EAGAIN))
        else:
            if pid == 0:
                return True
            self._running[pid] = asked.task
            self._tell(Forked(task=asked.task, pid=pid))
        os.close(name)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return False

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

    def _refuse(self, why: str) -> None:
        if not self._has_answered:
            self._has_answered = True
            with suppress(OSError):  # the launcher is gone
                send(self._channel, Refused(why=why))


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


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
