"""A folder of alice's on the lab's cluster, sweeps in it whose tasks note when they begin and end, and samples."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_cluster import SYSTEM_PATH, Cluster, wait_until

LAUNCH_TIMEOUT_S = 900
APP = """
import pathlib, time
import hydra

def note(step, cfg):
    with pathlib.Path(__file__).with_name("notes").open("a") as file:
        file.write(f"{step} {cfg.sweep} {cfg.x} {time.time():.3f}\\n")

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    note(cfg.units, cfg)
    time.sleep(cfg.sleep)
    note(-cfg.units, cfg)

main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How much of a resource was in use by the tasks' own notes.

    :param most: at any moment
    :param mean: while a run that was submitted had not begun
    :param waiting_s: how long that was
    :param waiting: from when to when (Unix times)
    :param entered: sweep -> how often its runs began
    """

    most: int
    mean: float
    waiting_s: float
    waiting: Sequence[tuple[float, float]]
    entered: Mapping[str, Counter[int]]


@dataclass(slots=True, kw_only=True)
class Place:
    """Where one trial happens."""

    cluster: Cluster
    folder: Path
    due: dict[str, tuple[float, int]] = field(default_factory=dict)

    def prepare(self, profile: str) -> None:
        (self.folder / ".hpcorch").mkdir(parents=True)
        (self.folder / "app.py").write_text(APP)
        (self.folder / ".hpcorch" / "site.yaml").write_text(profile)
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, "alice", "alice")

    def alice(self, *argv: str, timeout_s: float = LAUNCH_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """A command that alice types in the folder; her state lies there, too."""
        words = ["env", f"PATH={self.cluster.venv}/bin:{SYSTEM_PATH}", f"HPCORCH_STATE={self.folder}/state", *argv]
        command = self.cluster.command("user", "alice", *words)
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=timeout_s)

    def launch(self, sweep: str, runs: int, *keys: str, sleep: float, units: int = 1) -> None:
        """Launch a sweep and leave it.

        :raises RuntimeError: the launcher failed
        """
        words = [f"+x=range({runs})", f"+sweep={sweep}", f"+sleep={sleep}", f"+units={units}"]
        keys = ("detach=true", *keys)
        launcher = ["hydra/launcher=hpcorch_slurm", *(f"hydra.launcher.{key}" for key in keys)]
        done = self.alice("python", "app.py", "-m", f"hydra.sweep.dir={sweep}", *launcher, *words)
        if done.returncode != 0:
            raise RuntimeError(f"the launch of {sweep} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        self.due[sweep] = (time.time(), runs)

    def status(self, sweep: str) -> dict[str, Any]:
        """What ``hpcorch status --refresh`` says of the sweep."""
        ids = json.loads(self.alice("hpcorch", "ls", "--json").stdout)
        (chosen,) = [one["sweep"] for one in ids if one["directory"] == str(self.folder / sweep)]
        report: dict[str, Any] = json.loads(
            self.alice("hpcorch", "status", chosen, "--refresh", "--json", timeout_s=600).stdout
        )
        return report

    def queue(self, *options: str) -> list[str]:
        """Alice's jobs by the controller, one row per array element."""
        return self.cluster.root("squeue", "-h", "-r", "-u", "alice", *options).splitlines()

    def wait_until_over(self, timeout_s: float) -> None:
        """Wait for an empty queue; a keeper that submits more is in it while it does."""
        wait_until(lambda: not self.queue(), timeout_s=timeout_s, interval_s=1)

    def use(self) -> Use:
        """What the tasks noted, so far."""
        return measure([line.split() for line in (self.folder / "notes").read_text().splitlines()], self.due)


@dataclass(frozen=True, slots=True)
class Samples:
    """What a look said -> when (Unix times)."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    @property
    def most(self) -> int:
        return max((value for _, value in self.seen), default=0)

    def mean(self, waiting: Sequence[tuple[float, float]]) -> float:
        """Of the looks in these times."""
        inside = [value for at, value in self.seen if any(begin <= at < end for begin, end in waiting)]
        return sum(inside) / len(inside) if inside else 0.0


def measure(notes: Sequence[Sequence[str]], due: Mapping[str, tuple[float, int]]) -> Use:
    """Follow the notes in order of time.

    :param due: sweep -> when it was submitted, and how many runs it has
    """
    steps = [(float(moment), int(step), sweep, int(x)) for step, sweep, x, moment in notes]
    steps += [(moment, 0, sweep, -1) for sweep, (moment, _) in due.items()]
    left = dict.fromkeys(due, 0)
    entered: dict[str, Counter[int]] = {sweep: Counter() for sweep in due}
    inside = most = 0
    area = 0.0
    waiting: list[tuple[float, float]] = []
    previous = min(moment for moment, *_ in steps)
    for moment, step, sweep, x in sorted(steps):
        if any(count > 0 for count in left.values()):
            area += inside * (moment - previous)
            waiting.append((previous, moment))
        if x < 0:
            left[sweep] += due[sweep][1]
        elif step > 0:
            left[sweep] -= 1
            entered[sweep][x] += 1
        inside, previous = inside + step, moment
        most = max(most, inside)
    waiting_s = sum(end - begin for begin, end in waiting)
    mean = area / waiting_s if waiting_s else 0.0
    return Use(most=most, mean=mean, waiting_s=waiting_s, waiting=waiting, entered=entered)


@contextmanager
def sampled(look: Callable[[], int], interval_s: float = 0.5) -> Iterator[Samples]:
    """While the block runs, what a look says now and then."""
    samples = Samples()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(interval_s):
            samples.seen.append((time.time(), look()))

    witness = threading.Thread(target=sample, daemon=True)
    witness.start()
    try:
        yield samples
    finally:
        over.set()
        witness.join()
