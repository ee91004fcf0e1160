"""One sweep of alice's on a cluster of its own, and what all witnesses say of it. Used by faults.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_cluster import SYSTEM_PATH, Cluster, wait_until

from hpcorch.journal.reader import read_segment
from hpcorch.model.events import AttemptEnded
from hpcorch.model.states import RunState

LAUNCH_TIMEOUT_S = 240
# squeue and sacct hear of an end seconds after the journal; after the database was down by some more.
LATENESS_S = 45

APP = """
import os, time, uuid
import hydra

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")

def note(word, cfg, nonce):
    line = f"{word} {cfg.x} {nonce}\\n".encode()
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, line)
    os.close(descriptor)

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    nonce = uuid.uuid4().hex
    is_again = os.path.exists(NOTES) and f"called {cfg.x} " in open(NOTES).read()
    note("called", cfg, nonce)
    time.sleep(0.2 if is_again else cfg.sleep)
    note("done", cfg, nonce)
    return {"x": cfg.x, "nonce": nonce, "ballast": "." * cfg.get("ballast", 0)}

main()
"""

# What sacct's last word on an element should be where the ledger says this; LOST is what nobody knows.
SACCT_WORDS = {
    "COMPLETED": {"COMPLETED", "CANCELLED", "KILLED"},  # cancelled or killed when its end was on record
    "FAILED": {"FAILED", "KILLED"},
    "CANCELLED": {"CANCELLED", "PREEMPTED"},  # cancelled by preemption, and not started again
    "TIMEOUT": {"TIMEOUT"},
    "NODE_FAIL": {"NODE_FAIL"},
    "LOST": {"COMPLETED"},
}


@dataclass(slots=True, kw_only=True)
class Trial:
    """One sweep in a folder of its own, whose task notes each call and each completion in a file.

    :ivar torn: journals were cut off: the ledger may have what they lack, and Slurm's word counts
    :ivar sacct_counts: accounting has not been robbed of what it would have heard
    """

    cluster: Cluster
    campaign: str
    name: str
    runs: int = 3
    seen: dict[str, Any] = field(default_factory=dict)
    torn: bool = False
    sacct_counts: bool = True
    _scripts: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.cluster.folder / "work" / self.campaign / self.name

    @property
    def journals(self) -> Path:
        return self.folder / "out" / ".hpcorch" / "journal"

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "app.py").write_text(APP)
        shutil.chown(self.folder, "alice", "alice")

    def replace(self, program: str, *, when: str, action: str) -> None:
        """Put a program in front of Slurm's on the launcher's PATH.

        :param when: shell condition on the arguments; otherwise it is Slurm's program
        :param action: shell lines, in which ``$real`` is Slurm's program and ``$PPID`` the launcher
        """
        path = self.folder / "bin" / program
        path.write_text(f'#!/bin/bash\nreal=/usr/bin/{program}\n{when} || exec $real "$@"\n{action}\n')
        path.chmod(0o755)

    def gate(self) -> None:
        """Make the launcher's sbatch wait until ``open_gate`` is called."""
        action = f'touch {self.folder}/gate; while [ ! -e {self.folder}/go ]; do sleep 0.05; done; exec $real "$@"'
        self.replace("sbatch", when='[[ "$*" != *--test-only* ]]', action=action)

    def wait_at_gate(self) -> None:
        wait_until((self.folder / "gate").exists)

    def open_gate(self) -> None:
        (self.folder / "go").touch()

    def start(self, *keys: str, sleep: float = 1, detach: bool = True, ballast: int = 0) -> subprocess.Popen[str]:
        """Start the launcher.

        :param ballast: bytes that each result is larger than need be
        """
        keys = (f"detach={str(detach).lower()}", *(keys or ('exclude="n3,n4"',)))
        words = [
            f"+x={','.join(map(str, range(self.runs)))}",
            f"+sleep={sleep}",
            f"+ballast={ballast}",
            "hydra.sweep.dir=out",
        ]
        argv = ["python", "app.py", "-m", "hydra/launcher=hpcorch_slurm", "hydra.sweep.dir=out", *words]
        argv += [f"{'+' * key.startswith('+')}hydra.launcher.{key.removeprefix('+')}" for key in keys]
        path = f"{self.folder}/bin:{self.cluster.venv}/bin:{SYSTEM_PATH}"
        with (self.folder / "launcher.out").open("w") as out:
            return subprocess.Popen(
                self._as_alice(argv, path), cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, text=True
            )

    def launch(self, *keys: str, sleep: float = 1, detach: bool = True) -> None:
        """Start the launcher and wait for its end, whatever that is."""
        self.start(*keys, sleep=sleep, detach=detach).wait(LAUNCH_TIMEOUT_S)

    def is_being_launched(self) -> bool:
        return bool(self._launcher())

    def kill_launcher(self) -> None:
        for pid in self._launcher():
            os.kill(pid, signal.SIGKILL)

    def _launcher(self) -> list[int]:
        return [pid for pid in self.cluster.processes("app.py", "hpcorch_slurm") if self._is_in_folder(pid)]

    def tasks(self) -> list[int]:
        """Pids of the sweep's tasks that run now."""
        return self.cluster.processes("hpcorch.runtime", f"{self.folder}/")

    def _is_in_folder(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False

    def _as_alice(self, argv: Sequence[str], path: str | None = None) -> list[str]:
        path = path or f"{self.cluster.venv}/bin:{SYSTEM_PATH}"
        return self.cluster.command("user", "alice", "env", f"PATH={path}", *argv)

    def alice(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command that alice types in the folder."""
        return subprocess.run(
            self._as_alice(argv), cwd=self.folder, capture_output=True, text=True, timeout=LAUNCH_TIMEOUT_S
        )

    def wait_for_notes(self, word: str, count: int) -> None:
        wait_until(lambda: sum(self.noted(word).values()) >= count)

    def noted(self, word: str) -> Counter[int]:
        """How often each run's function noted this."""
        return Counter(run for said, run, _ in self._notes() if said == word)

    def _notes(self) -> list[tuple[str, int, str]]:
        path = self.folder / "notes"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(word, int(run), nonce) for word, run, nonce in rows]

    def array(self) -> str:
        """The id of the sweep's job array."""
        (job,) = {row.split()[0].split("_")[0] for row in self.queue("all")}
        return job

    def raw_ids(self) -> list[str]:
        """The ids that the elements on a node have there."""
        return self.cluster.root("squeue", "-h", "-r", "-j", self.array(), "-t", "R", "-o", "%A").split()

    def queue(self, states: str = "PD,R,CG,S,RQ") -> list[str]:
        """Rows of squeue about the sweep's jobs."""
        rows = self.cluster.root("squeue", "-h", "-r", "-u", "alice", "-t", states, "-o", "%i %T %r %Z")
        return [row for row in rows.splitlines() if row.split()[-1] == str(self.folder)]

    def refresh(self) -> bool:
        """Ask hpcorch anew; whether everything is settled."""
        done = self.alice("hpcorch", "status", "last", "--refresh", "--json")
        self.seen = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        states = [RunState(run["state"]) for run in self.rows()]
        known = bool(self.seen) or not self.queue()
        return known and all(state.is_final or state is RunState.PLANNED for state in states)

    def rows(self) -> list[dict[str, Any]]:
        return self.seen.get("runs", [])

    def states(self) -> list[str]:
        return [run["state"] for run in self.rows()]

    # What must hold once everything is settled

    def violations(self, allowed: set[str]) -> list[str]:
        """What the witnesses say that does not fit; empty if the fault was survived.

        :param allowed: states that runs may have ended in
        """
        return [
            *(f"run {run['index']} is {run['state']}" for run in self.rows() if run["state"] not in allowed),
            *self._calls(),
            *self._left_in_queue(),
            *self._against_journals(),
            *self._against_accounting(),
            *self._ledger(),
        ]

    def _calls(self) -> Iterator[str]:
        rows = {run["index"]: run for run in self.rows()}
        for word in ("called", "done"):
            for run, count in self.noted(word).items():
                attempts = len(rows[run]["attempts"]) if run in rows else 0
                if count > max(1, attempts):
                    yield f"run {run} was {word} {count} times in {attempts} attempts"
        for run in rows.values():
            nonces = {nonce for word, index, nonce in self._notes() if (word, index) == ("done", run["index"])}
            if run["state"] == "COMPLETED" and not self._is_backed(run["result"], nonces):
                yield f"run {run['index']} has a result that no call returned"
            if run["state"] in ("PLANNED", "CANCELLED") and nonces:
                yield f"run {run['index']} is {run['state']}, and was done"

    def _is_backed(self, result: dict[str, Any] | None, nonces: set[str]) -> bool:
        """Whether a call returned this result, or one whose journal was cut off, so that nobody has it."""
        return bool(nonces) and self.torn if result is None else result["nonce"] in nonces

    def _left_in_queue(self) -> Iterator[str]:
        yield from self._lasting(lambda: [f"left in the queue: {row}" for row in self.queue()])

    def _against_journals(self) -> Iterator[str]:
        completed = {int(name.split(".")[0]) for name in self.completed_journals()}
        for run in self.rows():
            if run["index"] in completed and run["state"] != "COMPLETED":
                yield f"run {run['index']} is {run['state']}, and a journal says completed"
            if run["index"] not in completed and run["state"] == "COMPLETED" and not self.torn:
                yield f"run {run['index']} is COMPLETED, and no journal says so"

    def completed_journals(self) -> list[str]:
        """Names of the journals that end with a completion."""
        folder = self.cluster.inside(self.journals)
        names = []
        for path in sorted(folder.glob("*.jsonl")) if folder.exists() else ():
            events = read_segment(path, sweep="", source="", offset=0).events
            if any(isinstance(event.fact, AttemptEnded) and event.fact.outcome == "completed" for event in events):
                names.append(path.name)
        return names

    def _against_accounting(self) -> Iterator[str]:
        yield from self._lasting(lambda: list(self._disagreements()))

    def _lasting(self, look: Callable[[], list[str]]) -> list[str]:
        """What is still so when Slurm and its database have had time to hear of everything."""
        deadline = time.monotonic() + LATENESS_S
        while (found := look()) and time.monotonic() < deadline:
            time.sleep(1)
        return found

    def _disagreements(self) -> Iterator[str]:
        words = self.accounting()
        started: dict[str, set[str]] = {}
        for element, states in words.items():
            if states != ["CANCELLED"]:
                started.setdefault(self._scripts[element], set()).add(element.split("_")[0])
        for script, arrays in started.items():
            if len(arrays) > 1:
                yield f"arrays {sorted(arrays)} of one submission, {script}, started"
        for run in self.rows() if self.sacct_counts else ():
            said = words.get(run["job_id"] or "", [])
            if run["state"] == "PLANNED" or not said:
                continue  # a row of a whole array that was cancelled while it waited has no element
            expected = SACCT_WORDS.get(run["state"], set())
            if not expected & set(said if run["state"] == "COMPLETED" else said[-1:]):
                yield f"run {run['index']} is {run['state']}, and sacct says {said}"

    def accounting(self) -> dict[str, list[str]]:
        """sacct's words on each attempt of each element, and KILLED for FAILED by a signal.

        Notes which batch script each is of.
        """
        fields = "JobID,State,ExitCode,SubmitLine"
        rows = self.cluster.root("sacct", "-X", "-D", "-P", "-n", "-u", "alice", "-o", fields).splitlines()
        words: dict[str, list[str]] = {}
        for element, state, code, line in (row.split("|", 3) for row in rows):
            if f"{self.folder}/" in line:
                self._scripts[element] = line.split()[-1]
                word = "KILLED" if state == "FAILED" and not code.endswith(":0") else state.split()[0]
                words.setdefault(element, []).append(word)
        return words

    def _ledger(self) -> Iterator[str]:
        if not self.seen:
            return
        if (checked := self.alice("hpcorch", "ledger", "check")).returncode != 0:
            yield f"ledger check: {checked.stdout.strip()} {checked.stderr.strip()}"
        before = self.alice("hpcorch", "query", "--json", "select * from v_runs order by run").stdout
        self.alice("hpcorch", "ledger", "rebuild")
        if self.alice("hpcorch", "query", "--json", "select * from v_runs order by run").stdout != before:
            yield "ledger rebuild yields other runs"
