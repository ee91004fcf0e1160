"""Finding the real sbatch where a wrapper that calls ``hpcorch sbatch`` comes first on PATH.

Scripts and Makefiles know no alias, so such a wrapper stands in for one. Starting it from here would never end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpcorch.errors import SlurmUnavailableError

SBATCH = "sbatch"
_WRAPPERS_SIZE = 4096  # a wrapper has few lines; of other programs this much is read
_CALL = re.compile(rb"^[^#\n]*\bhpcorch[\"']?[\s,]+[\"']?sbatch\b", re.MULTILINE)


def sbatch_program(environ: Mapping[str, str]) -> str:
    """``sbatch``, or the path of the first one on PATH that is no such wrapper, where the very first one is.

    :raises SlurmUnavailableError: there is nothing but wrappers
    """
    found = _on_path(environ)
    first = next(found, None)
    if first is None or not _is_wrapper(first):
        return SBATCH
    other = next((path for path in found if not _is_wrapper(path)), None)
    if other is None:
        raise SlurmUnavailableError(
            f"{first} calls `hpcorch sbatch`, and there is no sbatch of Slurm's on PATH behind it. Work on a login"
            " node, or load the site's slurm module"
        )
    return str(other)


def _on_path(environ: Mapping[str, str]) -> Iterator[Path]:
    for folder in os.get_exec_path(environ):
        path = Path(folder) / SBATCH
        if path.is_file() and os.access(path, os.X_OK):
            yield path


def _is_wrapper(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _CALL.search(file.read(_WRAPPERS_SIZE)) is not None
    except OSError:  # it may be executed and not read
        return False
