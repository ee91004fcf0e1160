"""How a pool starts its tasks: each as a process of its own, or forked from one that has started the program."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from hpcorch import tunables
from hpcorch.journal.layout import SweepLayout
from hpcorch.services.local.journal import PoolRecord
from hpcorch.services.local.request import LocalRequest, TaskTerms
from hpcorch.services.local.task import LocalTask, TaskProcess, output_files, start_process
from hpcorch.services.logs.paths import LogFiles
from hpcorch.services.recording.submissions import task_words
from hpcorch.slurm.job_environment import script_exports

if TYPE_CHECKING:
    from hpcorch.runtime.fork_server.client import ForkServer

_log = logging.getLogger(__name__)
# What submitit's local executor tells its one task, so that submitit.JobEnvironment() works in the user's code.
_SUBMITIT = {
    "SUBMITIT_EXECUTOR": "local",
    "SUBMITIT_LOCAL_NTASKS": "1",
    "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
    "SUBMITIT_LOCAL_NODEID": "0",
    "SUBMITIT_LOCAL_GLOBALID": "0",
    "SUBMITIT_LOCAL_LOCALID": "0",
}


class Starter:
    """Starts the tasks of one pool."""

    def __init__(self, request: LocalRequest, layout: SweepLayout, record: PoolRecord) -> None:
        self._request = request
        self._layout = layout
        self._record = record
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

    def start(self, index: int, gpus: Sequence[str], lanes: Collection[int]) -> LocalTask:
        """Start a task.

        :param gpus: devices that are its own until it has ended
        :param lanes: of the tasks that run
        :raises OSError: a log cannot be opened, or the program cannot be started
        """
        terms = self._request.terms_of(index)
        server = (
            self._server if self._forks and terms.python_options == self._request.terms.python_options else None
        )
        # Forked tasks share logs, one after another, where a log is one file.
        shares = server is not None and terms.stderr_to_stdout and terms.log_folder is None
        lane = next(n for n in range(len(lanes) + 1) if n not in lanes) if shares else index
        logs = LogFiles(layout=self._layout, submission=self._record.number, folder=terms.log_folder)
        output, error = logs.local(lane)
        environ = self._own_environment(index, gpus, terms)
        with output_files(output, None if terms.stderr_to_stdout else error) as (out, err):
            if server is not None:
                process: TaskProcess = server.fork(index, environ=environ, output=out, error=err)
            else:
                argv = [*self._argv(terms), "--task", str(index)]
                process = start_process(argv, environ={**self._environment(), **environ}, output=out, error=err)
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

        terms = self._request.terms
        with output_files(self._layout.log(self._record.number, "program"), None) as (output, _):
            return ForkServer.start(self._argv(terms), environ=self._environment(), output=output)

    def _argv(self, terms: TaskTerms) -> list[str]:
        request = self._request
        return [
            request.python,
            *terms.python_options,
            *task_words(
                self._layout,
                sweep=request.sweep,
                launch=request.launch,
                submission=self._record.number,
                runs=request.runs,
            ),
            *("--job-id", self._record.job_id),
        ]

    def _environment(self) -> dict[str, str]:
        """The variables of all tasks."""
        return {**self._request.environ, **script_exports(self._request.environ), **_SUBMITIT}

    def _own_environment(self, index: int, gpus: Sequence[str], terms: TaskTerms) -> dict[str, str]:
        devices = {} if terms.gpus is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        return {"SUBMITIT_LOCAL_JOB_ID": f"{self._record.job_id}_{index}", **devices}
