#!/usr/bin/env python
"""What freezing the code costs at submission, and unpacking it on a node.

A git repository of Python files is made in a folder of the file system in question. Freezing it is compared with
what anybody would do by hand, ``git ls-files`` and ``tar`` of the same files. Rounds are interleaved, and medians
are shown. On a busy machine the CPU time, children included, tells more than the time that passes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from hpcorch import tunables
from hpcorch.journal.layout import STATE_DIR
from hpcorch.provenance.code.freeze import FrozenCode, freeze
from hpcorch.provenance.code.git import look
from hpcorch.provenance.code.sources import Project, collect
from hpcorch.provenance.code.unpacking import unpack
from hpcorch.provenance.environment.record import fingerprint

BY_HAND = "git ls-files, tar -czf"
FIRST, UNCHANGED, EDITED = "freeze, first time", "freeze, unchanged", "freeze, one file edited"
UNPACKED, AGAIN, FINGERPRINT = "unpack on a node", "use what is unpacked", "fingerprint of the environment"
FOLDERS = 50


def main() -> None:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-freeze-", dir=options.directory) as folder:
        root = _repository(Path(folder) / "project", options.files, options.size)
        taken = _measure(root, Path(folder), options.rounds)
        _writable(Path(folder))
    print(_as_json(taken, options) if options.json else _as_table(taken, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="files of the repository (%(default)s)")
    parser.add_argument("--size", type=int, default=6000, help="bytes of a file on average (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (here)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _repository(root: Path, files: int, size: int) -> Path:
    """Files that pack as sources do."""
    chance = random.Random(0)
    words = [f"name_{chance.randrange(10**6)}" for _ in range(2000)]
    for number in range(files):
        path = root / f"package_{number % FOLDERS}" / f"module_{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted, text = chance.randint(size // 2, size * 3 // 2), ""
        while len(text) < wanted:
            text += f"    {chance.choice(words)} = {chance.choice(words)}({chance.randrange(100)})\n"
        path.write_text(text)
    for words_of_git in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", "-C", root, *words_of_git], check=True)
    time.sleep(tunables.FILE_CLOCK_NS / 1e9 + 0.5)  # as old as the files of a project are
    return root


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds that passed, and of the CPU with children."""

    wall: float
    cpu: float


def _measure(root: Path, folder: Path, rounds: int) -> dict[str, list[Taken]]:
    """What each kind took, by round."""
    taken: dict[str, list[Taken]] = {}
    for number in range(rounds + 1):
        found = _round(root, folder, number)
        if number:  # the first round warms up: files come into memory, modules are imported
            for name, one in found.items():
                taken.setdefault(name, []).append(one)
    return taken


def _round(root: Path, folder: Path, number: int) -> dict[str, Taken]:
    shutil.rmtree(root / ".hpcorch", ignore_errors=True)
    found = {BY_HAND: _timed(lambda: _by_hand(root, folder / "by-hand.tgz"))}
    found[FIRST] = _timed(lambda: _freeze(root))
    found[UNCHANGED] = _timed(lambda: _freeze(root))
    code = _freeze(root)
    base = folder / f"node-{number}"
    found[UNPACKED] = _timed(lambda: unpack(code.archive, code.digest, base).release())
    found[AGAIN] = _timed(lambda: unpack(code.archive, code.digest, base).release())
    found[FINGERPRINT] = _timed(fingerprint)
    edited = root / "package_0" / "module_0.py"
    original = edited.read_bytes()
    edited.write_bytes(original + b"# edited\n")
    found[EDITED] = _timed(lambda: _freeze(root))
    edited.write_bytes(original)
    return found


def _freeze(root: Path) -> FrozenCode:
    """All that a submission does for the code."""
    look(root)
    return freeze(collect(Project(root=root, is_checkout=True)), state=root / STATE_DIR)


def _by_hand(root: Path, target: Path) -> None:
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], check=True, capture_output=True).stdout
    argv = ["tar", "-C", root, "--null", "-T", "-", "-czf", target]
    subprocess.run(argv, input=listed, check=True)


def _timed(action: Callable[[], object]) -> Taken:
    began, cpu = time.perf_counter(), _cpu_seconds()
    action()
    return Taken(time.perf_counter() - began, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _writable(folder: Path) -> None:
    """What is unpacked is read-only, which a temporary directory cannot remove."""
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)


def _as_table(taken: Mapping[str, Sequence[Taken]], options: argparse.Namespace) -> str:
    """A Markdown table; the ratios are those of the medians."""
    reference = _medians(taken[BY_HAND])
    lines = [
        f"| {options.files} files, median of {options.rounds} | s | ratio | fastest to slowest | CPU s | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in taken.items():
        middle = _medians(found)
        span = f"{min(one.wall for one in found):.3f}-{max(one.wall for one in found):.3f}"
        wall = f"{middle.wall:.3f} | {middle.wall / reference.wall:.2f} | {span}"
        lines.append(f"| {name} | {wall} | {middle.cpu:.3f} | {middle.cpu / reference.cpu:.2f} |")
    return "\n".join(lines)


def _medians(found: Sequence[Taken]) -> Taken:
    return Taken(median(one.wall for one in found), median(one.cpu for one in found))


def _as_json(taken: Mapping[str, Sequence[Taken]], options: argparse.Namespace) -> str:
    plain = {name: [asdict(one) for one in found] for name, found in taken.items()}
    return json.dumps({"files": options.files, "bytes": options.size, "seconds": plain}, indent=2)


if __name__ == "__main__":
    main()
