"""Names and paths that no file system takes, refused while nothing is on record yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, Final

from hpcorch.errors import UsageError
from hpcorch.journal.manifest import ManifestRun
from hpcorch.model.value_text import shortened
from hpcorch.slurm.error_texts import LONGEST_TEXT

#: Bytes of a name, and of a path, that Linux takes; PATH_MAX counts the NUL at the end.
LONGEST_NAME: Final = 255
LONGEST_PATH: Final = 4095
#: Bytes that hpcorch and Hydra need below a directory, as for ``.hpcorch/submissions/s12-<token>.sbatch``.
ROOM: Final = 96

_LONGEST_CHARACTER: Final = 4  # bytes, in UTF-8
_SHOWN: Final = 40
_JOB_NAME: Final = "${hydra.job.name}"
_HINTS: Final = {
    "hydra.sweep.dir": "",
    "hydra.sweep.subdir": "; hydra.job.config.override_dirname.exclude_keys takes overrides out of"
    " ${hydra.job.override_dirname}",
}


def check_sweep_directory(directory: Path) -> None:
    """Refuse a sweep directory that cannot be made.

    :raises UsageError: its path or a name in it is too long
    """
    _check("the sweep directory", directory, "choose a shorter hydra.sweep.dir")


def check_run_directories(runs: Iterable[ManifestRun], sweep: Path) -> None:
    """Refuse output directories that cannot be made.

    :param sweep: the sweep directory
    :raises UsageError: the path of one, or a name in it, is too long
    """
    for run in runs:
        if _LONGEST_CHARACTER * len(run.directory) <= LONGEST_NAME:
            continue
        directory = Path(run.directory)
        own = directory.parts[len(sweep.parts) :] if directory.is_relative_to(sweep) else ()
        outside = _longest(own) <= LONGEST_NAME < _longest(directory.parts)
        key = "hydra.sweep.dir" if outside else "hydra.sweep.subdir"
        _check(f"the output directory of run {run.run}", directory, f"shorten {key}{_HINTS[key]}")


def check_log_name(job_name: str, job_logging: Mapping[str, Any]) -> None:
    """Refuse a name of the job after which Hydra would name a log file that cannot be made.

    :param job_logging: ``hydra.job_logging``, interpolations unresolved
    :raises UsageError: the name is too long
    """
    for handler in (job_logging.get("handlers") or {}).values():
        pattern = PurePath(str(handler.get("filename", ""))).name
        name = pattern.replace(_JOB_NAME, job_name)
        if name != pattern and _size(name) > LONGEST_NAME:
            raise UsageError(f"{_too_long('the log file of each run', name)}: choose a shorter hydra.job.name")


def check_slurm_name(name: str) -> None:
    """Refuse a name that Slurm does not take for a job.

    :raises UsageError: it is too long
    """
    if _size(name) > LONGEST_TEXT:
        raise UsageError(
            f"hydra.launcher.name has {_size(name)} bytes, and Slurm takes at most {LONGEST_TEXT} as the name of a"
            " job: choose a shorter one (by default it is hydra.job.name)"
        )


def _check(what: str, directory: Path, cure: str) -> None:
    name = max(directory.parts, key=_size)
    if _size(name) > LONGEST_NAME:
        raise UsageError(f"{_too_long(what, name)}: {cure}")
    if _size(directory) > LONGEST_PATH - ROOM:
        raise UsageError(
            f"{what} would have a path of {_size(directory)} bytes, {_shortened(str(directory))}, and Linux takes"
            f" at most {LONGEST_PATH}, of which the files in it need {ROOM}: {cure}"
        )


def _too_long(what: str, name: str) -> str:
    return (
        f"{what} would have the name {_shortened(name)}, which has {_size(name)} bytes, and file systems take at"
        f" most {LONGEST_NAME}"
    )


def _longest(names: Iterable[str]) -> int:
    return max(map(_size, names), default=0)


def _size(text: str | Path) -> int:
    return len(os.fsencode(text))


def _shortened(text: str) -> str:
    return repr(shortened(text, _SHOWN))
