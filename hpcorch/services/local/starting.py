"""How a pool starts its tasks: each as a process of its own, or forked from one that has started the program."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpcorch import tunables
from hpcorch.journal.layout import SweepLayout
from hpcorch.services.local.request import LocalRequest, TaskTerms
from hpcorch.services.local.task import LocalTask, TaskProcess, output_files, start_process
from hpcorch.services.logs.paths import LogFiles
from hpcorch.services.recording.submissions import task_words

if TYPE_CHECKING:
    from hpcorch.runtime.fork_server.client import ForkServer

_log = logging.getLogger(__name__)


class Starter:
    """Starts the tasks of one pool.

    :param submission: the number of theirs
    :param pool: the id of the pool, which is this process
    :param element: of an array, whose packed task this process is: it has a log for each lane
    """

    def __init__(
        self, request: LocalRequest, layout: SweepLayout, *, submission: int, pool: str, element: int | None = None
    ) -> None:
        self._request = request
        self._layout = layout
        self._submission = submission
        self._pool = pool
        self._element = element
        self._forks = request.forks and len(request.runs) > 1
        self._server: ForkServer | None = None
        self._began = 0.0  # when that was started, by the monotonic clock

    def is_ready(self) -> bool:
        """Whether a task can be started now; a fork server is started first."""
        if not self._forks:
            return True
        if self._server is None or (self._server.is_gone and self._server.refused is None):
            try:
                self._server, self._began = self._started(), time.monotonic()
            except OSError as error:
                return self._forks_no_more(f"its process could not be started ({error})")
        self._server.listen(0.0)
        if (why := self._server.refused or self._overdue(self._server)) is not None:
            self._server.close()
            return self._forks_no_more(why)
        return self._server.is_ready

    def _forks_no_more(self, why: str) -> bool:
        _log.warning("Runs are not forked from the program, but started one by one: %s", why)
        self._forks = False
        return True

    def _overdue(self, server: ForkServer) -> str | None:
        """Why a server is not waited for any more: the start of the program is a part of each run's time."""
        limit = self._request.terms.timeout_s
        if server.is_ready or limit is None or time.monotonic() < self._began + limit:
            return None
        return f"it has not called its function within {limit:g} s, the time limit of a run"

    def start(
        self,
        index: int,
        gpus: Sequence[str],
        lanes: Collection[int],
        *,
        environ: Mapping[str, str] | None = None,
        restart: int | None = None,
    ) -> LocalTask:
        """Start a task.

        :param gpus: devices that are its own until it has ended
        :param lanes: of the tasks that run
        :param environ: variables that it gets beside those of all tasks
        :param restart: which attempt of its run it is, in a packed task
        :raises OSError: a log cannot be opened, or the program cannot be started
        """
        terms = self._request.terms_of(index)
        server = (
            self._server if self._forks and terms.python_options == self._request.terms.python_options else None
        )
        # Forked and packed tasks share logs, one after another, where a log is one file.
        is_packed = self._element is not None
        shares = (server is not None or is_packed) and terms.stderr_to_stdout and terms.log_folder is None
        lane = next(n for n in range(len(lanes) + 1) if n not in lanes) if shares else index
        devices = {} if terms.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        own = {**(environ or {}), **devices}
        with self._output(lane, terms, is_own=is_packed and shares and lane == 0) as (out, err):
            if server is not None:
                process: TaskProcess = server.fork(index, environ=own, output=out, error=err, restart=restart)
            else:
                argv = [*self._argv(terms), "--task", str(index)]
                argv += [] if restart is None else ["--restart", str(restart)]
                process = start_process(argv, environ={**self._request.environ, **own}, output=out, error=err)
        deadline = None if terms.timeout_s is None else time.monotonic() + terms.timeout_s
        return LocalTask(process=process, gpus=gpus, deadline=deadline, lane=lane)

    def pause(self) -> None:
        """Wait for news of the tasks, not for long."""
        if self._server is None or self._server.is_gone:
            time.sleep(tunables.LOCAL_POLL_S)
        else:
            self._server.listen(tunables.LOCAL_POLL_S)

    def close(self) -> None:
        """End the fork server, if there is one; no task runs any more."""
        if self._server is not None:
            self._server.close()

    def _started(self) -> ForkServer:
        from hpcorch.runtime.fork_server.client import ForkServer  # most pools have none

        with self._output("program", self._request.terms, is_own=self._element is not None) as (output, _):
            return ForkServer.start(self._argv(self._request.terms), environ=self._request.environ, output=output)

    @contextmanager
    def _output(self, lane: int | str, terms: TaskTerms, *, is_own: bool) -> Iterator[tuple[int, int]]:
        """Descriptors of standard output and standard error of one task at a time.

        :param is_own: those of this process, so that a packed task has one log as any task has
        :raises OSError: a file cannot be opened
        """
        if is_own:
            yield sys.stdout.fileno(), sys.stderr.fileno()
            return
        logs = LogFiles(layout=self._layout, submission=self._submission, folder=terms.log_folder)
        output, error = logs.local(lane if self._element is None else f"{self._element}.{lane}")
        with output_files(output, None if terms.stderr_to_stdout else error) as files:
            yield files

    def _argv(self, terms: TaskTerms) -> list[str]:
        request = self._request
        return [
            request.python,
            *terms.python_options,
            *task_words(
                self._layout,
                sweep=request.sweep,
                launch=request.launch,
                submission=self._submission,
                runs=request.runs,
            ),
            *("--job-id", self._pool),
        ]
