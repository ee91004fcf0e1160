#!/usr/bin/env python3
"""How fast and how large the ledger is: `scripts/bench/ledger.py --runs 1000000`.

Makes a sweep of realistic events, ingests it as a launcher and later commands would, times whole processes that
list it, and checks it. Prints one row a figure, with what was asked for. Wall and CPU seconds differ where the
machine has other work.

With --hammer SECONDS instead, two writers, on two hosts as far as they can tell, store sweeps in one ledger at once
for so long; then they are killed at random moments, again and again. Exits with 1 if anything is lost.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hammer import hammer
from synthetic import control, journals, observed, segment

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import Segment
from hpcorch.ledger import Ledger, manifests_in

LAUNCH = 100_000  # runs of one launch
STEP = 10_000  # runs whose journals one command takes over
SWEEP = "20260101-000000-bench"
REPETITIONS = 5


class Stopwatch:
    """Seconds of wall and of CPU time, children included, summed over blocks."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter(), _cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += _cpu_s() - self._start[1]

    def rate(self, events: int) -> str:
        """Events a second, and the seconds that it took."""
        return f"{events / self.wall:,.0f} events/s ({self.wall:.1f} s, {self.cpu:.1f} s of CPU)"


def _cpu_s() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(item.ru_utime + item.ru_stime for item in used)


def timed_command(path: Path, *words: str) -> str:
    """Seconds of a whole `hpcorch` process, the best of some."""
    walls: list[float] = []
    for _ in range(REPETITIONS):
        with Stopwatch() as watch:
            # A run of the sweep failed, so status ends with 1.
            subprocess.run(_hpcorch(path, *words), check=False, capture_output=True)
        walls.append(watch.wall)
    return f"{min(walls):.3f} s"


def first_lines(path: Path, *words: str) -> str:
    """Seconds until a whole process, of which `head` wants ten lines, is over."""
    command = " ".join([*_hpcorch(path, *words), "| head"])
    with Stopwatch() as watch:
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    return f"{watch.wall:.3f} s"


def _hpcorch(path: Path, *words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("hpcorch")), "--ledger", str(path), *words]


def fill(ledger: Ledger, root: Path, runs: int, *, by_sacct: bool) -> tuple[int, Stopwatch]:
    """Ingest one sweep, launch by launch and then journals as they come; events, and ingestion's own time."""
    layout = SweepLayout(root / "sweep")
    manifests = manifests_in(layout)
    events, known, watch = 0, 0, Stopwatch()

    def ingest(segments: list[Segment]) -> None:
        nonlocal events
        with watch:
            events += ledger.ingest(SWEEP, segments, manifests).events
        print(f"  {events:,} events, {watch.rate(events)}", file=sys.stderr)

    for first in range(0, runs, LAUNCH):
        facts = control(layout, SWEEP, first, min(LAUNCH, runs - first))
        ingest([segment(SWEEP, "control", facts, known)])
        known += len(facts)
    for first in range(0, runs, STEP):
        some = range(first, min(first + STEP, runs))
        ingest(list(journals(SWEEP, some)))
        if by_sacct:
            said = [observed(run) for run in some]
            ingest([segment(SWEEP, "control", said, known)])
            known += len(said)
    return events, watch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument(
        "--no-observed", dest="by_sacct", action="store_false", help="no word from sacct on each run"
    )
    parser.add_argument("--directory", type=Path, help="where the files are made (default: a temporary directory)")
    parser.add_argument("--hammer", type=float, metavar="SECONDS", help="two writers and kills, instead of figures")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        if options.hammer:
            return hammer(Path(folder), options.hammer, options.seed)
        report(Path(folder), options.runs, by_sacct=options.by_sacct)
        return 0


def report(root: Path, runs: int, *, by_sacct: bool) -> None:
    """Fill a ledger, measure, and print a row a figure as soon as it is known."""
    path = root / "ledger.db"
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with Ledger.open(path, write=True, create=True) as ledger:
        events, watch = fill(ledger, root, runs, by_sacct=by_sacct)
    row("runs", f"{runs:,}")
    row("events", f"{events:,}")
    row("ingestion", watch.rate(events), "20,000 events/s or more")
    row("size, events included", f"{path.stat().st_size / runs:,.0f} bytes/run", "below 3,000")
    row("hpcorch ls", timed_command(path, "ls"), "below 0.3 s")
    row("hpcorch status last", timed_command(path, "status", "last"), "below 0.3 s")
    row("hpcorch status last -q | head", first_lines(path, "status", "last", "-q"), "below 0.3 s")
    with Stopwatch() as watch:
        subprocess.run(_hpcorch(path, "ledger", "backup", str(root / "copy.db")), check=True, capture_output=True)
    row("hpcorch ledger backup", watch.rate(events))
    (root / "copy.db").unlink()
    for words in ((), ("--deep",)):
        with Stopwatch() as watch:
            subprocess.run(_hpcorch(path, "ledger", "check", *words), check=True, capture_output=True)
        row(
            " ".join(("hpcorch ledger check", *words)),
            watch.rate(events),
            "" if words else "above 100,000 events/s",
        )
    with Stopwatch() as watch, Ledger.open(path, write=True) as ledger:
        ledger.rebuild()
    row("rebuild", watch.rate(events))


def row(name: str, figure: str, wanted: str = "") -> None:
    """A figure, and what was asked for."""
    print(f"{name:32}{figure:>52}  {wanted}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
