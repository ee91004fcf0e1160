"""What a trial job of ``hpcorch doctor --jobs`` does: ``python -m hpcorch.services.doctor.trial FOLDER NAME``.

It looks around on its node and writes what it found into the folder. When the login side has seen what all tasks
found it says ``go``; then the task notes its clock's time, and two of them fight for locks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import HpcorchError
from hpcorch.journal.files import write_whole
from hpcorch.model.processes import NODE_TRIAL
from hpcorch.services.doctor.locks import LockFight, fight, refresh
from hpcorch.services.site.survey import open_files
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.job_environment import job_here, temporary_folders

# What a task or a keeper on the node may need of Slurm.
_COMMANDS = ("sbatch", "scancel", "scontrol", "squeue")

HELLO, GO = "hello", "go.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node is like for a task.

    :param machine: tells hosts apart that share a name; empty where the kernel does not say
    :param hello: what the login side had written into the folder, as it is read here
    :param folders: folder -> why nothing can be written there, for those where that is so
    :param missing_commands: of Slurm's
    :param controller: why Slurm did not answer from here; None if it did, or there are no commands
    :param temporary: why nothing can be written into the folder for temporary files, None if it can
    """

    node: str
    machine: str
    hello: str
    folders: dict[str, str]
    missing_commands: list[str]
    controller: str | None
    open_files: int | None
    temporary_folder: str
    temporary: str | None
    temporary_free: int

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> NodeFacts:
        """Read what :func:`main` wrote."""
        return cls(**{one.name: plain[one.name] for one in fields(cls)})


def facts_file(folder: Path, name: str) -> Path:
    """Where a task writes what it found."""
    return folder / f"{name}.facts.json"


def clock_file(folder: Path, name: str) -> Path:
    """Where it writes its clock's time when it saw ``go``."""
    return folder / f"{name}.clock.json"


def locks_file(folder: Path, name: str) -> Path:
    """Where it writes its results with locks."""
    return folder / f"{name}.locks.json"


def read_locks(folder: Path, name: str) -> dict[str, LockFight] | None:
    """The results of a task; None while there are none."""
    plain = read_json(locks_file(folder, name))
    return None if plain is None else {kind: LockFight(**one) for kind, one in plain.items()}


def read_json(path: Path) -> Any:
    """A file that was written whole; None while it is not there."""
    with suppress(FileNotFoundError):
        return json.loads(path.read_bytes())
    return None


def write_json(path: Path, value: Any) -> None:
    """Write one for :func:`read_json`."""
    write_whole(path, json.dumps(value).encode())


def look_around(folder: Path, shared: Sequence[Path]) -> NodeFacts:
    """Gather the facts of this node.

    :param shared: further folders that nodes are to see and write
    """
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    job = job_here(os.environ)
    temporary = Path(temporary_folders(os.environ)[0])
    return NodeFacts(
        node=(job and job.node) or os.uname().nodename,
        machine=_machine(),
        hello=_text(folder / HELLO),
        folders={str(one): problem for one in shared if (problem := _writing_problem(one)) is not None},
        missing_commands=missing,
        controller=None if missing else _controller_problem(),
        open_files=open_files(),
        temporary_folder=str(temporary),
        temporary=_writing_problem(temporary),
        temporary_free=shutil.disk_usage(temporary).free if temporary.is_dir() else 0,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Look around, wait for the word to go on, fight; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {NODE_TRIAL}", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of the trial")
    parser.add_argument("name", help="of this task")
    parser.add_argument("--shared", type=Path, action="append", default=[], help="a folder to try; may be repeated")
    given = parser.parse_args(arguments)
    os.environ.pop("PYTHONSAFEPATH", None)
    write_json(facts_file(given.folder, given.name), asdict(look_around(given.folder, given.shared)))
    names = _wait_for_go(given.folder, given.name)
    write_json(clock_file(given.folder, given.name), time.time())
    others = [name for name in names if name != given.name]
    if others:
        fought = fight(given.folder, given.name, others[0], seconds=tunables.TRIAL_LOCKS_S)
        write_json(locks_file(given.folder, given.name), {kind: asdict(one) for kind, one in fought.items()})
    return 0


def _wait_for_go(folder: Path, name: str) -> list[str]:
    """The names of the tasks that take part; none if nobody says so in time."""
    deadline = time.monotonic() + tunables.TRIAL_WAIT_S
    while time.monotonic() < deadline:
        refresh(folder, name)
        names: list[str] | None = read_json(folder / GO)
        if names is not None:
            return names
        time.sleep(tunables.TRIAL_POLL_S)
    return []


def _controller_problem() -> str | None:
    try:
        CliClient().config()
    except HpcorchError as error:
        return str(error)
    return None


def _writing_problem(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"trial")
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _machine() -> str:
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
