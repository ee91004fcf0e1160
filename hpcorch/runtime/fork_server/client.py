"""The process that a fork server serves: it starts the server, and has tasks forked."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from hpcorch import tunables
from hpcorch.model.processes import SERVE
from hpcorch.runtime.fork_server.messages import (
    Ended,
    Fork,
    Forked,
    Message,
    NotForked,
    Ready,
    Refused,
    pair,
    receive,
    send,
)


class ForkServer:
    """A fork server that this process has started.

    :ivar is_ready: tasks can be forked
    :ivar refused: why none can be, as a part of a sentence; None as long as that is not known
    :ivar is_gone: it has ended; tasks that it has forked may go on for a moment
    :ivar forked: how many tasks it has forked
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._tasks: dict[int, ForkedProcess] = {}
        self._failed: dict[int, int] = {}  # task -> why it was not forked
        self.is_ready = False
        self.refused: str | None = None
        self.is_gone = False
        self.forked = 0

    @classmethod
    def start(cls, argv: Sequence[str], *, environ: Mapping[str, str], output: int) -> ForkServer:
        """Start one, in a session of its own.

        :param argv: the command of a task, without its number
        :param output: a descriptor; what the program prints before it calls its function goes there
        :raises OSError: it cannot be started
        """
        ours, theirs = pair()
        with theirs:
            process = subprocess.Popen(
                [*argv, SERVE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return cls(process, ours)

    def fork(
        self, task: int, *, environ: Mapping[str, str], output: int, error: int, restart: int | None = None
    ) -> ForkedProcess:
        """Fork a task, which leads a session of its own.

        :param environ: variables that it gets beside the server's
        :param output: descriptor of its standard output
        :param error: of its standard error
        :param restart: which attempt of the run it is, in a packed task
        :return: the process; one that has ended if the server has, since it may have forked it before
        :raises OSError: there can be no further process now
        """
        try:
            send(self._channel, Fork(task=task, restart=restart, environ=environ), [output, error])
        except OSError:
            self._end()
        while task not in self._tasks and task not in self._failed and not self.is_gone:
            self._hear()
        if task in self._failed:
            number = self._failed.pop(task)
            raise OSError(number, os.strerror(number))
        return self._tasks.get(task) or ForkedProcess(self, None, returncode=-signal.SIGTERM)

    def listen(self, timeout_s: float) -> None:
        """Take what the server tells; wait for it so long at most."""
        while not self.is_gone and self._has_news(timeout_s):
            self._hear()
            timeout_s = 0.0

    def close(self) -> None:
        """End the server, and what the program has started. Its tasks have ended before."""
        if not self.is_ready and self.refused is None:  # the program is at work, and does not listen
            self._signal(signal.SIGTERM)
        self._channel.close()
        self._reap()
        self.is_gone, self.is_ready = True, False

    def _reap(self) -> int:
        """Wait for the server's end, not for long, and end what is left of its session; its exit code."""
        try:
            self._process.wait(tunables.LOCAL_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        code = self._process.wait()
        self._signal(signal.SIGKILL)
        return code

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _has_news(self, timeout_s: float) -> bool:
        return bool(select.select([self._channel], [], [], timeout_s)[0])

    def _hear(self) -> None:
        received = receive(self._channel)
        if received is None:
            self._end()
        else:
            self._note(received[0])

    def _note(self, message: Message) -> None:
        if isinstance(message, Ready):
            self.is_ready = True
        elif isinstance(message, Refused):
            self.refused = message.why
        elif isinstance(message, Forked):
            self._tasks[message.task] = ForkedProcess(self, _process(message.pid))
            self.forked += 1
        elif isinstance(message, NotForked):
            self._failed[message.task] = message.error
        elif isinstance(message, Ended):
            self._tasks.pop(message.task).returncode = message.returncode

    def _end(self) -> None:
        self.is_gone, self.is_ready = True, False
        code = self._reap()
        if self.refused is None and not self.forked:
            self.refused = f"the process that has started it ended with exit code {code}"


class ForkedProcess:
    """A process that a fork server has forked; as :class:`subprocess.Popen`, as far as that goes.

    :ivar pid: None if there was none
    """

    def __init__(self, server: ForkServer, process: psutil.Process | None, returncode: int | None = None) -> None:
        self._server = server
        self._process = process
        self.pid = None if process is None else process.pid
        self.returncode = returncode

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        self._server.listen(0.0)
        if self.returncode is None and self._server.is_gone and self._has_ended():
            self.returncode = -signal.SIGTERM  # which the kernel sends it when its server dies
        return self.returncode

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        while (code := self.poll()) is None:
            time.sleep(tunables.LOCAL_POLL_S)
        return code

    def _has_ended(self) -> bool:
        """As can be seen of a process that is nobody's child here: it may be a zombie for ever."""
        try:
            return (
                self._process is None
                or not self._process.is_running()
                or self._process.status() == psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return True


def _process(pid: int) -> psutil.Process | None:
    """A process, which is known from now on even if its number is used again; None if it has ended."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
