"""How runs are interrupted, and when. Used by preemptions.py."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lab_cluster import wait_until
from preempted_sweep import ALIVE, Element, Sweep

LOOK_S = 0.3
# An interruption comes so long after an attempt began, at most: it is in its start, its restore, or at work.
LATEST_S = 6.0
# The scheduler looks for whom to preempt every few seconds, then come GraceTime and KillWait.
GONE_WITHIN_S = 90
DISTURB_TIMEOUT_S = 900

# Of each round so many, in random order.
ROUND = ("preempted",) * 4 + ("twice",) * 3 + ("requeued",) * 2 + ("killed",) * 2 + ("node-down", "node-lost")


@dataclass(slots=True, kw_only=True)
class Node:
    """What happens next on a node.

    :ivar due: when, by the monotonic clock; None while nothing runs there
    :ivar victims: attempts that were struck and are to vanish, and by when
    """

    name: str
    kind: str
    due: float | None = None
    victims: list[Element] = field(default_factory=list)
    deadline: float = 0.0


@dataclass(slots=True, kw_only=True)
class Disturber:
    """Interrupts the runs of one sweep at random moments.

    :ivar interrupted: how many attempts are over that did not end their run
    :ivar violations: what must not have been, such as processes that outlived their job
    """

    sweep: Sweep
    rng: random.Random
    nodes: Sequence[str]
    kinds: Sequence[str] = ROUND
    interrupted: int = 0
    violations: list[str] = field(default_factory=list)
    _again: set[str] = field(default_factory=set)  # elements to be struck as soon as they have restarted
    _seen: set[Element] = field(default_factory=set)
    _restarts: dict[str, int] = field(default_factory=dict)
    _zombies: set[str] = field(default_factory=set)  # elements whose processes were kept alive

    def disturb(self, *, until: int) -> None:
        """Interrupt until so many attempts are over, or all runs have ended.

        :raises TimeoutError: that never was
        """
        plan = self._plan()
        nodes = [Node(name=name, kind=next(plan)) for name in self.nodes]
        deadline = time.monotonic() + DISTURB_TIMEOUT_S
        while self.interrupted < until:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.interrupted} of {until} interruptions in {DISTURB_TIMEOUT_S} s")
            alive = self.sweep.elements(ALIVE)
            if not alive:
                self.violations.append(f"the runs ended after {self.interrupted} of {until} interruptions")
                return
            self._look(alive)
            running = [one for one in self.sweep.elements("R") if one in self._seen or not self._note(one)]
            for node in nodes:
                self._step(node, running, plan)
            time.sleep(LOOK_S)

    def _plan(self) -> Iterator[str]:
        while True:
            yield from self.rng.sample(self.kinds, len(self.kinds))

    def _look(self, alive: Sequence[Element]) -> None:
        self._restarts.update({one.name: one.restarts for one in alive})
        self.interrupted = sum(self._restarts.values())

    def _note(self, element: Element) -> bool:
        """Meet a new attempt; whether it was interrupted at once."""
        self._seen.add(element)
        if element.name not in self._zombies and (left := self.sweep.processes(element, earlier=True)):
            self.violations.append(f"processes {left} of {element.name} outlived restart {element.restarts - 1}")
        if element.name in self._again:
            self._again.discard(element.name)
            _say(f"again: {element.name} restart {element.restarts}")
            self._requeue(element)
            return True
        return False

    def _step(self, node: Node, running: Sequence[Element], plan: Iterator[str]) -> None:
        here = [one for one in running if node.name in one.nodes]
        node.victims = [one for one in node.victims if one in running]
        if node.victims:
            if time.monotonic() > node.deadline:
                self.violations.append(f"{[one.name for one in node.victims]} went on in spite of: {node.kind}")
                node.victims = []
            return
        if not here:
            node.due = None
        elif node.due is None:
            node.due = time.monotonic() + self.rng.uniform(0, LATEST_S)
        elif time.monotonic() >= node.due:
            self._strike(node, here)
            node.due = None
            node.kind = next(plan)

    def _strike(self, node: Node, here: Sequence[Element]) -> None:
        victim = self.rng.choice(here)
        _say(f"{node.kind}: {victim.name} restart {victim.restarts} on {node.name} ({self.interrupted} so far)")
        strikes: dict[str, Callable[[Node, Element], None]] = {
            "preempted": lambda at, _: self._preempt(at.name),
            "twice": self._twice,
            "requeued": lambda _, one: self._requeue(one),
            "killed": lambda _, one: self._kill(one),
            "node-down": lambda at, _: self._take_down(at.name),
            "node-lost": lambda at, _: self._lose(at.name, here),
        }
        strikes[node.kind](node, victim)
        node.victims = [victim]
        node.deadline = time.monotonic() + GONE_WITHIN_S

    def _preempt(self, node: str) -> None:
        """Somebody else's job that goes first takes the whole node."""
        words = ("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        done = self.sweep.alice(*words)
        if done.returncode != 0:
            raise RuntimeError(f"the urgent job was refused: {done.stderr}")

    def _twice(self, node: Node, victim: Element) -> None:
        self._again.add(victim.name)
        self._preempt(node.name)

    def _requeue(self, victim: Element) -> None:
        self.sweep.alice("scontrol", "requeue", victim.name)

    def _kill(self, victim: Element) -> None:
        """SIGKILL, and Slurm is kept from hearing of it before it requeues the job."""
        stepd = self.sweep.cluster.processes("slurmstepd", f"[{victim.raw}.")
        _signal(stepd, signal.SIGSTOP)
        _signal(self.sweep.processes(victim), signal.SIGKILL)
        self._requeue(victim)
        _signal(stepd, signal.SIGCONT)

    def _take_down(self, node: str) -> None:
        """An administrator takes the node down: its jobs are killed and queued again."""
        self.sweep.cluster.root("scontrol", "update", f"nodename={node}", "state=down", "reason=trial")
        time.sleep(1)
        self._bring_back(node)

    def _lose(self, node: str, victims: Sequence[Element]) -> None:
        """The node is lost to Slurm, while the processes on it live on beside their successors for a while."""
        self._zombies.update(one.name for one in victims)
        daemons = self.sweep.cluster.processes("slurmd", "-N", node)
        daemons += self.sweep.cluster.processes("slurmd", f"-N{node}")
        for victim in victims:
            daemons += self.sweep.cluster.processes("slurmstepd", f"[{victim.raw}.")
        _signal(daemons, signal.SIGSTOP)
        frozen = self.sweep.processes(victims[0])  # and one sleeps until its successor is at work
        _signal(frozen, signal.SIGSTOP)
        try:
            self.sweep.cluster.root("scontrol", "update", f"nodename={node}", "state=down", "reason=trial")
            wait_until(lambda: self._is_again(victims[0]), timeout_s=GONE_WITHIN_S)
            time.sleep(3)
            _signal(frozen, signal.SIGCONT)
            time.sleep(3)
        finally:
            _signal(frozen, signal.SIGCONT)
            _signal(daemons, signal.SIGCONT)
            self._bring_back(node)

    def _is_again(self, before: Element) -> bool:
        running = self.sweep.elements("R")
        return any(one.name == before.name and one.restarts > before.restarts for one in running)

    def _bring_back(self, node: str) -> None:
        wait_until(lambda: self._serves(node))

    def _serves(self, node: str) -> bool:
        if "down" not in self.sweep.cluster.root("sinfo", "-h", "-N", "-n", node, "-o", "%T"):
            return True
        with contextlib.suppress(RuntimeError):  # it has come back by itself meanwhile
            self.sweep.cluster.root("scontrol", "update", f"nodename={node}", "state=resume")
        return False

    def mend(self) -> None:
        """All nodes serve again."""
        for node in self.nodes:
            self._bring_back(node)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
