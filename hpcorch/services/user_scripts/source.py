"""Where sbatch takes a script from: a file, standard input, ``--wrap``, an open descriptor."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hpcorch.provenance.code.sources import is_shared
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.sbatch.line import SbatchLine

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)|/dev/stdin", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A script, read once, and what sbatch needs to read the same.

    :param text: the script
    :param path: its file; None where there is none
    :param given: what sbatch is to read from standard input; None leaves it ours
    :param descriptors: open files that sbatch is to have, too
    """

    text: bytes
    path: Path | None = None
    given: bytes | None = None
    descriptors: Sequence[int] = ()


def read_source(
    line: SbatchLine, environ: Mapping[str, str], read_input: Callable[[], bytes] | None = None
) -> Source:
    """The script that a command line names.

    :param read_input: gives it where no file and no ``--wrap`` does; by default from standard input
    :raises OSError: it cannot be read; nothing is lost by that
    """
    if (wrapped := line.values.get("wrap")) is not None:
        return Source(text=b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n%b\n" % os.fsencode(wrapped))
    if line.script is None:
        text = (read_input or _standard_input)()
        return Source(text=text, given=text)
    path = find_script(line.script, line.values.get("chdir", "."), environ.get("PATH", ""))
    if (open_file := _DESCRIPTOR.fullmatch(str(path))) is not None:
        return _from_descriptor(path, int(open_file[1] or 0))
    if stat.S_ISFIFO(path.stat().st_mode):  # what is read from it is gone
        raise OSError(f"{path} can be read only once")
    return Source(text=path.read_bytes(), path=path)


def find_script(name: str, chdir: str, search: str) -> Path:
    """The file that sbatch takes a script's name for: in ``--chdir``'s folder, or on PATH, else as it stands."""
    if name.startswith((".", "/")):
        return Path(name)
    for folder in (chdir, *filter(None, search.split(":"))):
        found = Path(chdir if folder.startswith(".") else "", folder, name)
        if found.exists() and not found.is_dir():
            return found
    return Path(name)


def script_files(script: Path | None, cwd: Path) -> list[Path]:
    """The script's file, absolute; none of a script that has none, or is an open file."""
    if script is None or str(script).startswith(("/dev/", "/proc/")):
        return []
    return [Path(os.path.normpath(cwd / script))]


def code_folder(script: Path | None, cwd: Path) -> Path:
    """The folder that a script's code is in: the working directory, unless that is no project or the script is
    elsewhere."""
    is_elsewhere = is_shared(Path(os.path.realpath(cwd)))
    folders = (file.parent for file in script_files(script, cwd))
    return next((folder for folder in folders if is_elsewhere or not folder.is_relative_to(cwd)), cwd)


def _standard_input() -> bytes:
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def _from_descriptor(path: Path, number: int) -> Source:
    """A script that the shell gives as an open file, such as ``sbatch <(generate)``."""
    source = Source(text=path.read_bytes(), path=path, descriptors=[number])
    if not stat.S_ISREG(os.fstat(number).st_mode):  # it is read up: sbatch gets it once more, under the same name
        again = os.memfd_create("script")
        with os.fdopen(again, "wb", closefd=False) as file:
            file.write(source.text)
        os.lseek(again, 0, os.SEEK_SET)
        os.dup2(again, number)
    return source
