"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0, *, interval_s: float = 0.05) -> None:
    """Poll ``condition`` until it returns something true.

    :raises AssertionError: it did not within ``timeout_s``
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s:g} s: {condition}"
        time.sleep(interval_s)
