"""The cluster (scripts/slurm-lab) of the trials on a real Slurm: caps.py, faults.py and preemptions.py."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LAB_SCRIPT = Path(__file__).parents[1] / "slurm-lab"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A lab whose daemons may be killed: nobody else uses it."""

    folder: Path
    venv: Path
    release: str

    @property
    def state(self) -> Path:
        return self.folder / self.release

    def command(self, *words: str) -> list[str]:
        return ["env", f"HPCORCH_LAB={self.folder}", str(LAB_SCRIPT), "--release", self.release, *words]

    def root(self, *argv: str, timeout_s: float = 60) -> str:
        """The output of a command of the administrator, who must succeed."""
        done = subprocess.run(self.command("run", *argv), capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"{argv} failed: {done.stderr.strip()}")
        return done.stdout

    def inside(self, path: Path) -> Path:
        """The same path as the cluster sees it, mounts of its own included."""
        return Path(f"/proc/{self._first_pid()}/root{path}")

    def _first_pid(self) -> int:
        return int((self.state / "ns.pid").read_text())

    def processes(self, *words: str) -> list[int]:
        """Pids, as the host counts, of the cluster's processes whose command line has all of these words."""
        namespace = _namespace(self._first_pid())
        return [pid for pid in _pids() if _namespace(pid) == namespace and _has_words(pid, words)]

    def signal(self, number: signal.Signals, *words: str) -> int:
        """Send a signal to all such processes; how many there were."""
        pids = self.processes(*words)
        for pid in pids:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(pid, number)
        return len(pids)

    def start(self, daemon: str, *options: str) -> None:
        """Start a daemon again."""
        log = self.state / "log" / f"{daemon}.again"
        self.root("sh", "-c", f"setsid {daemon} -D {' '.join(options)} >>{log} 2>&1 </dev/null &")

    def mend(self) -> None:
        """Whatever a fault left behind: all daemons run, all nodes serve."""
        for daemon in ("slurmdbd", "slurmctld", "slurmd"):
            self.signal(signal.SIGCONT, daemon)
        if not self.processes("slurmdbd", "-D"):
            self.start("slurmdbd")
            wait_until(lambda: self._answers("sacctmgr", "-n", "show", "cluster"))
        if not self.processes("slurmctld", "-D"):
            self.start("slurmctld")
        for node in ("n1", "n2", "n3", "n4"):
            if not self.processes("slurmd", "-D", node):
                self.start("slurmd", "-N", node)
        wait_until(self._serves)

    def _serves(self) -> bool:
        if not self._answers("scontrol", "ping"):
            return False
        for line in self.root("sinfo", "-h", "-N", "-p", "normal", "-o", "%N %T").splitlines():
            node, state = line.split()
            if "down" in state or "drain" in state:
                self._answers("scontrol", "update", f"nodename={node}", "state=resume")
                return False
            if state.endswith("*"):
                return False
        return True

    def _answers(self, *argv: str) -> bool:
        try:
            self.root("timeout", "15", *argv)
        except RuntimeError:
            return False
        return True


def trial_parser(description: str | None, *, name: str) -> argparse.ArgumentParser:
    """A parser with the options that every trial has.

    :param name: of the trial, as the folder of its cluster is called
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    lab = Path(f"/tmp/hpcorch-{name}-lab")
    parser.add_argument("--lab", type=Path, default=lab, help="folder of the cluster (%(default)s)")
    parser.add_argument("--release", help="of Slurm (this distribution's)")
    parser.add_argument(
        "--venv",
        type=Path,
        default=Path(os.environ.get("HPCORCH_LAB_VENV", sys.prefix)),
        help="virtual environment that alice can read (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


@contextmanager
def running_cluster(options: argparse.Namespace) -> Iterator[Cluster]:
    """The cluster that these options name; it is stopped at the end, unless it ran before or is to be kept."""
    cluster = Cluster(folder=options.lab, venv=options.venv, release=options.release or _native_release())
    ran = subprocess.run(cluster.command("status"), capture_output=True, check=False).returncode == 0
    subprocess.run(cluster.command("start"), check=True, stdout=subprocess.DEVNULL)
    try:
        yield cluster
    finally:
        if not (ran or options.keep):
            subprocess.run(cluster.command("stop"), check=False)


def _native_release() -> str:
    return subprocess.run([LAB_SCRIPT, "release"], check=True, capture_output=True, text=True).stdout.strip()


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _namespace(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def _has_words(pid: int, words: Sequence[str]) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return False
    return bool(line) and all(word in line for word in words)


def wait_until(condition: Callable[[], object], timeout_s: float = 60, interval_s: float = 0.1) -> None:
    """Poll a condition until it is true.

    :raises TimeoutError: it never was
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {timeout_s:g} s: {condition}")
        time.sleep(interval_s)
