"""What a command wrote as its result: a file of JSON, read when the command is over."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.model.values import integer
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.results import json_form


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A result, or why there is none."""

    result: Any = None
    problem: str | None = None


class ResultFile:
    """The file that a command was asked to write. Made before the command starts, to ignore what is there already.

    :param path: relative ones are seen from the working directory
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._before = self._mark()

    def read(self) -> Found:
        """What the command wrote there. Python's ``NaN`` and ``Infinity`` are understood."""
        try:
            if self._mark() == self._before is not None:
                return self._none("the command did not write it: the file is older than the command")
            if not stat.S_ISREG(self._path.stat().st_mode):  # a pipe would be waited for without end
                return self._none("it is not a regular file")
            with self._path.open("rb") as file:
                content = file.read(tunables.INLINE_RESULT_BYTES + 1)
        except FileNotFoundError:
            return self._none("the command did not write it")
        except OSError as error:
            return self._none(f"it cannot be read ({error.strerror})")
        if len(content) > tunables.INLINE_RESULT_BYTES:
            return self._none(
                f"it has more than {tunables.INLINE_RESULT_BYTES} bytes: write numbers and names there, not data"
            )
        try:
            return Found(result=json_form(json.loads(content, parse_int=integer)))
        except (ValueError, RecursionError) as error:
            return self._none(f"it is not valid JSON ({error})")

    def _none(self, why: str) -> Found:
        return Found(problem=f"there is no result in {self._path}: {why}")

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
