"""Processes that tests start."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_another_process(work: Callable[[], object]) -> int:
    """Start work in a process of its own, as another command would; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - nothing may come back into the test
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid
