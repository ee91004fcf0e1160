"""A sweep of alice's whose runs are interrupted, and what is known of each attempt. Used by preemptions.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lab_cluster import SYSTEM_PATH, Cluster

from hpcorch.journal.reader import read_segment
from hpcorch.model.events import (
    AttemptCalled,
    AttemptClaimed,
    AttemptEnded,
    CheckpointAbsent,
    CheckpointRestored,
    CheckpointSaved,
    Event,
    Fact,
    MetricsLogged,
    MetricsSummarised,
)
from hpcorch.model.ids import AttemptId, parse_time

LAUNCH_TIMEOUT_S = 120
ALIVE = "PD,R,CG,S,RQ"  # states of elements that Slurm is not done with

# A run records when a signal was seen to, which is after a save that it arrived in. This notes when it arrived.
WITNESS = """
import os, signal, socket, sys, threading, time

def note(arrivals, path):
    with open(path, "a", buffering=1) as file:
        while signals := arrivals.recv(100):
            file.writelines(f"{signal.Signals(number).name} {time.time()}\\n" for number in signals)

if "hpcorch.runtime" in sys.orig_argv and os.environ.get("SLURM_PROCID", "0") == "0":
    arrivals, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
    path = os.path.join(os.path.dirname(__file__), ".".join(os.environ.get(name, "0") for name in names))
    threading.Thread(target=note, args=(arrivals, path), daemon=True).start()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """An array element on a node: one attempt, as Slurm sees it."""

    array: str
    task: str
    raw: str
    restarts: int
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.array}_{self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """An attempt that did not end its run: at which moment it was interrupted, and Slurm's word for it."""

    run: int
    attempt: str
    moment: str
    state: str


@dataclass(slots=True, kw_only=True)
class Sweep:
    """One sweep in a folder of its own.

    :ivar seen: the latest answer of ``hpcorch status --json``
    """

    cluster: Cluster
    folder: Path
    argv: Sequence[str]
    seen: dict[str, Any] = field(default_factory=dict)
    array: str = ""

    @property
    def layout_folder(self) -> Path:
        return self.folder / "out" / ".hpcorch"

    def launch(self, *keys: str) -> None:
        """Submit it.

        :raises RuntimeError: it was not accepted
        """
        witness = self.folder / "witness"
        witness.mkdir(parents=True)
        (witness / "sitecustomize.py").write_text(WITNESS)
        for path in (self.folder, witness):
            shutil.chown(path, "alice", "alice")
        ours = ["detach=true", f"setup=['export PYTHONPATH={witness} OMP_NUM_THREADS=1']", *keys]
        words = [
            "-m",
            "hydra/launcher=hpcorch_slurm",
            "hydra.sweep.dir=out",
            *(f"hydra.launcher.{key}" for key in ours),
        ]
        done = self.alice("python", self.argv[0], *words, *self.argv[1:])
        if done.returncode != 0:
            raise RuntimeError(f"the sweep in {self.folder} was not submitted: {done.stderr.strip()}")
        rows = self.cluster.root("squeue", "-h", "-u", "alice", "-o", "%F %Z").splitlines()
        (self.array,) = {row.split()[0] for row in rows if row.split()[1] == str(self.folder)}

    def alice(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command that alice types in the folder."""
        words = ["user", "alice", "env", f"PATH={self.cluster.venv}/bin:{SYSTEM_PATH}", *argv]
        return subprocess.run(
            self.cluster.command(*words), cwd=self.folder, capture_output=True, text=True, timeout=LAUNCH_TIMEOUT_S
        )

    def elements(self, states: str) -> list[Element]:
        """The sweep's elements in these states, by squeue's short names."""
        columns = "ArrayJobID:32,ArrayTaskID:32,JobID:32,RestartCnt:32,NodeList:64"
        words = ("squeue", "-h", "-r", "-u", "alice", "-t", states, "-O", columns)
        rows = [row.split() for row in self.cluster.root(*words).splitlines()]
        return [
            Element(array=row[0], task=row[1], raw=row[2], restarts=int(row[3]), nodes=self._nodes(row[4:]))
            for row in rows
            if row[0] == self.array and row[1].isdigit()
        ]

    def _nodes(self, names: Sequence[str]) -> tuple[str, ...]:
        if not names:
            return ()
        return (
            tuple(self.cluster.root("scontrol", "show", "hostnames", names[0]).split())
            if "[" in names[0]
            else (names[0],)
        )

    def processes(self, element: Element, *, earlier: bool = False) -> list[int]:
        """Pids of the processes of an attempt, or of all attempts of the run before it."""
        found = []
        for pid in self.cluster.processes():
            environ = _environ(pid)
            if (environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")) != (
                element.array,
                element.task,
            ):
                continue
            restarts = int(environ.get("SLURM_RESTART_COUNT", 0))
            if restarts < element.restarts if earlier else restarts == element.restarts:
                found.append(pid)
        return found

    def refresh(self) -> bool:
        """Ask hpcorch anew; whether every run has ended, and Slurm is done with the sweep.

        A run that completed may be requeued all the same, while its last process ends: one more attempt is to come.
        """
        queued = self.elements(ALIVE)
        done = self.alice("hpcorch", "status", "last", "--refresh", "--json")
        self.seen = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        runs = self.seen.get("runs", [])
        return (
            bool(runs)
            and not queued
            and all(run["state"] not in ("PENDING", "RUNNING", "UNCERTAIN") for run in runs)
        )

    def journals(self, run: int) -> dict[str, tuple[Event, ...]]:
        """The events of each attempt of a run that has a journal, the earliest first."""
        paths = sorted(
            self.layout_folder.glob(f"journal/{run}.s*.r*.jsonl"), key=lambda path: AttemptId.parse(path.stem)
        )
        return {path.stem: read_segment(path, sweep="", source=path.stem, offset=0).events for path in paths}

    def outputs(self, run: int) -> dict[str, bytes]:
        """What a run wrote, by file."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out" / str(run)).glob("*.npz"))}

    def interruptions(self, run: Mapping[str, Any]) -> Iterator[Interruption]:
        """Every attempt of a run that did not end it."""
        journals = self.journals(run["index"])
        for attempt in run["attempts"]:
            if attempt["state"] in ("COMPLETED", "SKIPPED", "SUPERSEDED"):
                continue
            name = f"{run['index']}.{attempt['attempt']}"
            arrived = self._arrived(run["index"], attempt["restart"])
            moment = moment_of(journals.get(name, ()), arrived)
            yield Interruption(run=run["index"], attempt=name, moment=moment, state=attempt["state"])
        told = {attempt["restart"] for attempt in run["attempts"]}
        for restart in set(range(max(told, default=0))) - told:
            # Slurm ended it before our program was there, so nobody but accounting can tell of it.
            name = f"{run['index']}.s0.r{restart}"
            yield Interruption(run=run["index"], attempt=name, moment="before it began", state="unrecorded")

    def _arrived(self, run: int, restart: int) -> datetime | None:
        """When the first signal reached an attempt."""
        path = self.folder / "witness" / f"{run}.{restart}"
        lines = path.read_text().splitlines() if path.exists() else []
        times = [float(line.split()[1]) for line in lines]
        return parse_time("1970-01-01T00:00:00.000000Z") + timedelta(seconds=times[0]) if times else None


def _environ(pid: int) -> dict[str, str]:
    try:
        content = Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in content.split("\0"))


def moment_of(events: Sequence[Event], arrived: datetime | None) -> str:
    """At which moment an attempt was interrupted.

    :param arrived: when the first signal did
    """
    end = next((event.fact for event in events if isinstance(event.fact, AttemptEnded)), None)
    if isinstance(end, AttemptEnded) and end.signal == "SIGUSR1":
        return "near its time limit"
    if not any(isinstance(event.fact, AttemptCalled) for event in events):
        return "before it was called"
    if end is None:
        return "without a word: SIGKILL, a node that went down"
    if not any(isinstance(event.fact, (CheckpointRestored, CheckpointAbsent)) for event in events):
        return "while it restored"
    if arrived is not None and any(_lasts(event, arrived) for event in events):
        return "in a save"
    return "in an epoch"


def _lasts(event: Event, when: datetime) -> bool:
    fact = event.fact
    if not isinstance(fact, CheckpointSaved):
        return False
    end = parse_time(event.time)
    return end - timedelta(seconds=fact.seconds) <= when <= end


def curve(journals: Mapping[str, Sequence[Event]], attempt: str, until: str | None = None) -> list[Any]:
    """All metrics that led to where an attempt ended, or to a checkpoint that it saved: the winning line."""
    entries: list[Any] = []
    for event in journals[attempt]:
        fact = event.fact
        if isinstance(fact, CheckpointRestored):
            entries = curve(journals, fact.attempt, fact.file)
        elif isinstance(fact, MetricsLogged):
            entries += fact.entries
        elif isinstance(fact, CheckpointSaved) and fact.file == until:
            break
    return entries


def completing(journals: Mapping[str, Sequence[Event]]) -> str | None:
    """The attempt that ended the run."""
    return next((name for name, events in journals.items() if _completed(events)), None)


def _completed(events: Sequence[Event]) -> bool:
    return any(isinstance(event.fact, AttemptEnded) and event.fact.outcome == "completed" for event in events)


def last(events: Sequence[Event], kind: type[Fact]) -> Fact | None:
    """The last fact of one kind."""
    return next((event.fact for event in reversed(events) if isinstance(event.fact, kind)), None)


def differences(mine: Sweep, twin: Sweep, run: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """In what a run that was interrupted differs from its undisturbed twin."""
    name = f"run {run['index']}"
    if run["state"] != "COMPLETED" or other["state"] != "COMPLETED":
        yield f"{name} is {run['state']}, its twin {other['state']}"
        return
    if run["result"] != other["result"]:
        yield f"{name} gave {run['result']}, its twin {other['result']}"
    outputs, others = mine.outputs(run["index"]), twin.outputs(other["index"])
    if not others or outputs != others:
        yield f"{name} wrote other weights than its twin ({sorted(outputs)}, {sorted(others)})"
    if run["metrics"] != other["metrics"]:
        yield f"the ledger has other metrics of {name} than of its twin: {run['metrics']}, {other['metrics']}"
    yield from _different_curves(name, mine.journals(run["index"]), twin.journals(other["index"]))


def _different_curves(
    name: str, journals: Mapping[str, Sequence[Event]], others: Mapping[str, Sequence[Event]]
) -> Iterator[str]:
    ended, other_ended = completing(journals), completing(others)
    if ended is None or other_ended is None:
        yield f"no journal of {name} or of its twin says that it completed"
        return
    if _metrics(journals[ended]) != _metrics(others[other_ended]):
        yield f"{name} ended with other metrics than its twin"
    logged, expected = curve(journals, ended), curve(others, other_ended)
    if logged != expected:
        at = next(
            (n for n, pair in enumerate(zip(logged, expected, strict=False)) if pair[0] != pair[1]), "the end"
        )
        yield f"{name} logged {len(logged)} entries, its twin {len(expected)}; they differ at {at}"


def _metrics(events: Sequence[Event]) -> Mapping[str, Mapping[str, Sequence[Any]]] | None:
    summary = last(events, MetricsSummarised)
    return summary.metrics if isinstance(summary, MetricsSummarised) else None


def untold(sweep: Sweep, run: Mapping[str, Any]) -> Iterator[str]:
    """What the ledger does not tell, or tells wrongly, of a run's attempts."""
    journals = sweep.journals(run["index"])
    rows = {f"{run['index']}.{attempt['attempt']}": attempt for attempt in run["attempts"]}
    for name in journals.keys() - rows.keys():
        yield f"attempt {name} has a journal and is not in the ledger"
    for name, attempt in rows.items():
        restored = last(journals.get(name, ()), CheckpointRestored)
        told = (attempt["restored_from"], attempt["restored_step"])
        facts = (
            (restored.attempt.split(".", 1)[1], restored.step)
            if isinstance(restored, CheckpointRestored)
            else (None, None)
        )
        if told != facts:
            yield f"attempt {name} began from {facts}, and the ledger says {told}"
        if attempt["state"] in ("FAILED", "CANCELLED", "LOST", "STOPPED", "TIMEOUT"):
            yield f"attempt {name} is {attempt['state']} ({attempt['reason']})"
    saved = _last_saves(journals)
    for name, events in journals.items():
        yield from _not_the_newest(name, events, saved)


def _last_saves(journals: Mapping[str, Sequence[Event]]) -> list[tuple[AttemptId, Event, CheckpointSaved]]:
    return [
        (AttemptId.parse(name), event, event.fact)
        for name, events in journals.items()
        for event in events
        if isinstance(event.fact, CheckpointSaved)
    ]


def _not_the_newest(
    name: str, events: Sequence[Event], saved: Sequence[tuple[AttemptId, Event, CheckpointSaved]]
) -> Iterator[str]:
    """An attempt goes on from what the latest attempt before it saved last.

    Of several ranks, from what all of them have saved.
    """
    if any(isinstance(event.fact, AttemptClaimed) and event.fact.tasks > 1 for event in events):
        return
    for event in events:
        if not isinstance(event.fact, (CheckpointRestored, CheckpointAbsent)):
            continue
        before = [(by, fact) for by, at, fact in saved if by < AttemptId.parse(name) and at.time < event.time]
        latest = max((by for by, _ in before), default=None)
        expected = [fact.file for by, fact in before if by == latest][-1:]
        file = event.fact.file if isinstance(event.fact, CheckpointRestored) else None
        if expected and file != expected[0] and not _is_newer(file, expected[0]):
            yield f"attempt {name} began from {file}, and {expected[0]} was there"


def _is_newer(file: str | None, expected: str) -> bool:
    """Whether the checkpoint is one whose save could not be recorded any more."""
    return file is not None and Path(file).name > Path(expected).name
