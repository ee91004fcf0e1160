"""Two writers on one ledger, undisturbed and then killed: nothing that one was told is stored may be lost.

Each writer thinks that it is on a host of its own (a UTS namespace, where root may make one), so that neither can
tell by its pid whether the other is alive, and a dead one's lock is taken over when its lease runs out.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from synthetic import control, journals, segment

from hpcorch import tunables
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.model.states import RunState

RUNS = 50  # of a sweep, which is one ingestion's work
KILLS = 8
# A minute, as in earnest, would leave time for no more than one or two take-overs.
LEASE_S = 3.0


def write(name: str, path: Path) -> None:
    """Store sweep after sweep until killed, and say each id once its events are stored."""
    tunables.LOCK_LEASE_S = LEASE_S
    for number in itertools.count():
        sweep = f"{name}-{number}"
        layout = SweepLayout(path.parent / sweep)
        segments = [segment(sweep, "control", control(layout, sweep, 0, RUNS), 0), *journals(sweep, range(RUNS))]
        with Ledger.open(path, write=True, create=True) as ledger:
            ledger.ingest(sweep, segments, manifests_in(layout))
        print(sweep, flush=True)
        shutil.rmtree(layout.directory)


class Writer:
    """A process that runs :func:`write`, and what it said."""

    def __init__(self, name: str, path: Path, host: str) -> None:
        self.said = path.with_name(f"{name}.said")
        command = [sys.executable, __file__, name, str(path)]
        if os.geteuid() == 0 and shutil.which("unshare"):
            command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
        with self.said.open("w") as file:
            self._process = subprocess.Popen(command, stdout=file)

    def sweeps(self) -> list[str]:
        """The sweeps that it was told are stored; a last line that it did not finish is none."""
        return self.said.read_text().split("\n")[:-1]

    def wait_for_more(self, limit_s: float = 60) -> None:
        """Wait until it has stored another sweep."""
        known, until = len(self.sweeps()), time.monotonic() + limit_s
        while len(self.sweeps()) == known:
            if self._process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the writer of {self.said} died or stored nothing for {limit_s:g} s")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, and be sure that it is gone."""
        self._process.kill()
        self._process.wait()


def hammer(root: Path, seconds: float, seed: int) -> int:
    """Both parts, each in a ledger of its own; the exit code."""
    tunables.LOCK_LEASE_S = LEASE_S
    first = _undisturbed(root / "a" / "ledger.db", seconds)
    second = _killed(root / "b" / "ledger.db", random.Random(seed))
    return int(first + second > 0)


def _undisturbed(path: Path, seconds: float) -> int:
    path.parent.mkdir()
    with ExitStack() as stack:
        writers = [Writer(f"w{number}", path, f"host{number}") for number in range(2)]
        for writer in writers:
            stack.callback(writer.kill)
        time.sleep(seconds)
    told = [sweep for writer in writers for sweep in writer.sweeps()]
    shares = " and ".join(str(len(writer.sweeps())) for writer in writers)
    print(f"two writers for {seconds:g} s stored {shares} sweeps of {RUNS} runs", flush=True)
    return _verdict(path, told)


def _killed(path: Path, moments: random.Random) -> int:
    path.parent.mkdir()
    told: list[str] = []
    wrong = 0
    for number in range(KILLS):
        with ExitStack() as stack:
            writers = [Writer(f"k{number}w{index}", path, f"host{index}") for index in range(2)]
            for writer in writers:
                stack.callback(writer.kill)
            for writer in writers:
                writer.wait_for_more()
            time.sleep(moments.random())
            victim, survivor = moments.sample(writers, 2)
            victim.kill()
            survivor.wait_for_more()
            time.sleep(moments.random())
        told += [sweep for writer in writers for sweep in writer.sweeps()]
        journal = path.with_name("ledger.db-journal")
        torn = journal.exists() and journal.stat().st_size > 0
        print(f"kill {number + 1}: one, then the other{', in the middle of a commit' if torn else ''}", flush=True)
        wrong += _verdict(path, told)
    return wrong


def _verdict(path: Path, told: list[str]) -> int:
    """Print and count what is lost, half stored or wrong."""
    with Ledger.open(path) as ledger:
        found = {summary.sweep.id: summary for summary in ledger.sweeps()}
        findings = ledger.check(deep=True)
    lost = set(told) - found.keys()
    half = [name for name in told if name in found and found[name].counts.get(RunState.SUBMITTED)]
    for finding in findings:
        print(finding.text)
    print(
        f"  {len(told)} sweeps told of, {len(found)} found, {len(lost)} lost, {len(half)} half stored,"
        f" {len(findings)} findings",
        flush=True,
    )
    return len(lost) + len(half) + len(findings)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
