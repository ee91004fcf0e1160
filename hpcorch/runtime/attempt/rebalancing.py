"""Sharing out throttled resources from inside the runs that use them, so that nobody has to be logged in.

While others wait for what it has, a task looks now and then beside its work: at once, then ever more rarely, so
that a share that became free is idle for a small part of the time that runs take. One look serves all tasks of the
user.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from hpcorch import process, tunables
from hpcorch.journal.access import touch
from hpcorch.model.processes import REBALANCE
from hpcorch.resources.throttle_files import ThrottleFiles


class Sharing:
    """The rebalancing of one attempt. What fails is left to the next time, and to the sweep's keeper.

    :param folder: where the user's throttled arrays are on record
    """

    def __init__(self, folder: Path) -> None:
        self._files = ThrottleFiles(folder)
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._beside = threading.Thread(target=self._look_now_and_then, daemon=True)

    def begin(self) -> None:
        """Rebalance while the task works."""
        self._beside.start()

    def end(self, *, look: bool) -> None:
        """The task is over: rebalance once more, unless another process just did. Leaves no process behind."""
        self._over.set()
        self._beside.join()
        if look and self._files.short.exists() and self._due_in_s() <= 0:
            self._look()

    def _look_now_and_then(self) -> None:
        while not self._over.wait(max(0.0, self._due_in_s()) + random.random() * tunables.REBALANCE_JITTER_S):  # noqa: S311
            if self._files.short.exists():
                if self._due_in_s() <= 0:
                    self._look()
            elif self._over.wait(self._interval_s()):
                return

    def _interval_s(self) -> float:
        shortest, longest = tunables.REBALANCE_PAUSES_S
        return min(longest, max(shortest, tunables.REBALANCE_PART * (time.monotonic() - self._begun)))

    def _due_in_s(self) -> float:
        try:
            age = time.time() - self._files.looked.stat().st_mtime
        except OSError:
            return 0.0
        return self._interval_s() - max(0.0, age)  # a file server's clock may be ahead of ours

    def _look(self) -> None:
        """Rebalance in a process of its own: the task's has no need of the way to Slurm."""
        with suppress(OSError):
            touch(self._files.looked)  # others leave it to us from now on
        command = [sys.executable, "-m", REBALANCE, str(self._files.folder)]
        try:
            # From that folder, so that no file of the task's working directory is taken for a module.
            process.run(
                command,
                timeout_s=tunables.REBALANCE_TIMEOUT_S,
                cwd=self._files.folder,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        except (process.CommandMissingError, process.CommandTimeoutError):
            self._over.wait(tunables.REBALANCE_PAUSES_S[1])  # not at once again
