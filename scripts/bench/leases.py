#!/usr/bin/env python3
"""Leases under contention: `scripts/bench/leases.py --seconds 60`, in a directory of any file system to be tried.

Many processes take and give back slots, some are killed with -9 meanwhile and replaced. Two witnesses that know
nothing of tickets are asked afterwards. Each holder takes a kernel's lock (flock) on one of as many files as there
are slots, without waiting: one that finds none free proves that there were too many. And all append what they do,
with the time of this machine's steady clock, to one log. At last, a holder is stopped past its expiry and goes on.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from hpcorch.errors import LeaseLostError
from hpcorch.resources.leases.lease import LeaseNews, Leases, LeaseStage
from hpcorch.resources.leases.listing import holders

HELD_S = (0.05, 0.6)
# A slot given back this long ago may not have been noticed yet by the one it is for, which looks now and then, and
# later on a busy machine.
NOTICED_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one trial; travels to the workers on their command lines."""

    folder: Path
    slots: int
    expiry_s: float
    largest: int = 1

    @property
    def tickets(self) -> Path:
        return self.folder / "tickets"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def words(self) -> list[str]:
        return [str(self.folder), str(self.slots), str(self.expiry_s), str(self.largest)]

    @classmethod
    def of(cls, folder: str, slots: str, expiry_s: str, largest: str) -> Settings:
        return cls(folder=Path(folder), slots=int(slots), expiry_s=float(expiry_s), largest=int(largest))


def note(settings: Settings, pid: int, what: str, number: int = 0, count: int = 0) -> None:
    """Append one line to the log; short enough for the kernel to write it whole."""
    descriptor = os.open(settings.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{time.monotonic_ns()} {pid} {what} {number} {count}\n".encode())
    os.close(descriptor)


@contextmanager
def witnessed(settings: Settings, count: int) -> Iterator[None]:
    """Hold as many of the kernel's locks as slots."""
    files = [(settings.folder / f"slot-{n}").open("a") for n in range(settings.slots)]
    held = 0
    for file in files:
        if held < count:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            held += 1
    if held < count:
        note(settings, os.getpid(), "TOO-MANY")
    try:
        yield
    finally:
        for file in files:
            file.close()


def work(settings: Settings, *, holds: int | None = None) -> None:
    """Take and give back slots until killed."""
    pid = os.getpid()
    number = 0

    def observer(news: LeaseNews) -> None:
        nonlocal number
        number = news.number
        if news.stage in (LeaseStage.WAITING, LeaseStage.LOST):
            note(settings, pid, news.stage.value, news.number, news.count)

    leases = Leases(
        resource="io",
        directory=settings.tickets,
        capacity=settings.slots,
        expiry_s=settings.expiry_s,
        observer=observer,
    )
    while holds != 0:
        holds = None if holds is None else holds - 1
        # Told to be lost when the machine gave it no time for too long: logged, and it goes on.
        with suppress(LeaseLostError), leases.hold(count := random.randint(1, settings.largest)):
            note(settings, pid, "enter", number, count)
            with witnessed(settings, count):
                time.sleep(random.uniform(*HELD_S))
            note(settings, pid, "leave", number, count)


def start(settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--work", *settings.words()])


def choose(settings: Settings, running: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Whom to kill: a holder half of the time."""
    pids = {owner.pid for owner in holders(settings.tickets)}
    holding = [process for process in running if process.pid in pids]
    return random.choice(holding if holding and random.random() < 0.5 else running)


def contend(settings: Settings, *, processes: int, seconds: float, kill_every_s: float) -> None:
    """Run the workers, and kill one now and then, holders and waiting ones as it comes."""
    running = [start(settings) for _ in range(processes)]
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            time.sleep(kill_every_s)
            victim = choose(settings, running)
            running.remove(victim)
            note(settings, victim.pid, "kill")
            victim.kill()
            victim.wait()
            note(settings, victim.pid, "dead")
            running.append(start(settings))
    finally:
        note(settings, 0, "end")
        for process in running:
            process.kill()
        for process in running:
            process.wait()


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the log shows."""

    slots: int
    expiry_s: float
    most_live: int = 0
    too_many: int = 0
    served: int = 0
    overtaken: int = 0
    lost: int = 0
    slot_seconds: float = 0.0
    returned_s: list[float] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    last_ns: int = 0
    queued: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # number -> pid, count, since
    holding: dict[int, int] = field(default_factory=dict)  # number -> count
    dead: dict[int, tuple[int, int]] = field(default_factory=dict)  # number -> count, killed at
    due: dict[int, tuple[int, int]] = field(default_factory=dict)  # likewise, until it expires
    left: dict[int, tuple[int, int]] = field(default_factory=dict)  # number -> count, left at
    expired: int = 0
    in_the_way: int = 0

    def take(self, line: str) -> bool:
        """Take in one line; False after the last that counts."""
        at, pid, what, number, count = (word if n == 2 else int(word) for n, word in enumerate(line.split()))
        self._expire(at)
        self.slot_seconds += sum(self.holding.values()) * (at - self.last_ns) / 1e9 if self.last_ns else 0.0
        self.last_ns = at
        if what == "TOO-MANY":
            self.too_many += 1
        elif what == "lost":
            self.lost += 1
        elif what == "waiting":
            self._queue(number, pid, count, at)
        elif what == "enter":
            self._queue(number, pid, count, at)
            self._enter(number, count, at)
        elif what == "leave":
            self.queued.pop(number, None)
            self.holding.pop(number, None)
            self.left[number] = (count, at)
        elif what in ("kill", "dead"):
            self._dead(pid, at, really=what == "dead")
        return what != "end"

    def _queue(self, number: int, pid: int, count: int, at: int) -> None:
        for old in [old for old, (owner, *_) in self.queued.items() if owner == pid and old != number]:
            del self.queued[old]  # it drew anew
        self.queued.setdefault(number, (pid, count, at))

    def _enter(self, number: int, count: int, at: int) -> None:
        self.served += 1
        self.waited_s.append((at - self.queued[number][2]) / 1e9)
        self.holding[number] = count
        self.most_live = max(self.most_live, sum(self.holding.values()))
        earlier = sum(other[1] for drawn, other in self.queued.items() if drawn < number)
        if earlier + count > self.slots:
            self.overtaken += 1
        # The dead that it cannot have counted any more, the longest dead first.
        room = self.slots - earlier - count
        for drawn in sorted((d for d in self.dead if d < number), key=lambda d: -self.dead[d][1]):
            room -= self.dead[drawn][0]
            if room < 0:
                self.returned_s.append((at - self.dead.pop(drawn)[1]) / 1e9)

    def _dead(self, pid: int, at: int, *, really: bool) -> None:
        for number in [number for number, (owner, *_) in self.queued.items() if owner == pid]:
            if really:
                self.holding.pop(number, None)
                del self.queued[number]
            else:
                self.killed["holding" if number in self.holding else "waiting"] += 1
                self.dead[number] = self.due[number] = (self.queued[number][1], at)

    def _expire(self, at: int) -> None:
        """Those of the dead whose expiry ended before the next line: was anybody still waiting for nothing else?"""
        for number, (_, killed) in list(self.due.items()):
            end = killed + int(self.expiry_s * 1e9)
            if end <= at:
                del self.due[number]
                self.expired += 1
                self.in_the_way += any(self._waits_in_vain(drawn, end) for drawn in self.queued if drawn > number)

    def _waits_in_vain(self, drawn: int, now: int) -> bool:
        _, count, since = self.queued[drawn]
        recently = now - int(NOTICED_S * 1e9)
        if drawn in self.holding or since > recently:
            return False
        others = [(other, entry[1]) for other, entry in self.queued.items()]
        others += [(other, taken) for other, (taken, at) in self.left.items() if at > recently]
        others += [(other, taken) for other, (taken, _) in self.due.items()]
        return sum(taken for other, taken in others if other < drawn) + count <= self.slots


def tally(settings: Settings) -> Tally:
    result = Tally(slots=settings.slots, expiry_s=settings.expiry_s)
    for line in settings.log.read_text().splitlines():
        if not result.take(line):
            break
    return result


def report(settings: Settings, result: Tally, seconds: float) -> bool:
    """Print the numbers; whether all is as promised."""
    names = list(settings.tickets.iterdir())
    print(f"served                        {result.served} leases, {result.slot_seconds / seconds:.2f} slots in use")
    print(f"most live holders, by log     {result.most_live} of {settings.slots}")
    print(f"without a free kernel lock    {result.too_many}")
    print(f"served before an earlier one  {result.overtaken}")
    print(f"killed                        {result.killed['holding']} holding, {result.killed['waiting']} waiting")
    print(f"in the way after the expiry   {result.in_the_way} of {result.expired} killed ({settings.expiry_s:g} s)")
    if result.returned_s:
        typical_s = median(result.returned_s)
        print(f"seen to be passed             {len(result.returned_s)}, after {typical_s:.2f} s (median)")
    middle, longest = median(result.waited_s), max(result.waited_s)
    print(f"waited                        {middle:.2f} s (median), {longest:.2f} s (most)")
    print(f"lost although alive           {result.lost}")
    print(f"tickets drawn                 up to number {max(result.queued)}, {len(names)} names left")
    overtaken = result.overtaken and not result.lost  # who lost its place was told so
    return not (result.too_many or overtaken or result.in_the_way or result.most_live > settings.slots)


def stopped(settings: Settings) -> bool:
    """Stop a holder for longer than its expiry; whether it was told, and when the slot came back."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import leases; leases.hold_until_told(*sys.argv[2:])"
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(settings.tickets), str(settings.expiry_s)]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    other = Leases(resource="one", directory=settings.tickets, capacity=1, expiry_s=settings.expiry_s)
    with other.hold():
        passed_s = time.monotonic() - since
        time.sleep(max(0.0, settings.expiry_s * 1.2 - passed_s))
        holder.send_signal(signal.SIGCONT)
        said = holder.communicate()[0].split()
    print(f"stopped holder passed after   {passed_s:.2f} s; when it went on: {' '.join(said)}")
    return passed_s <= settings.expiry_s + NOTICED_S and said[:1] == ["LeaseLostError"]


def hold_until_told(directory: str, expiry_s: str) -> None:
    """Hold a slot and look after it often; say what came."""
    news: list[LeaseNews] = []
    one = Leases(
        resource="one", directory=Path(directory), capacity=1, expiry_s=float(expiry_s), observer=news.append
    )
    try:
        with one.hold() as lease:
            print("held", flush=True)
            while True:
                time.sleep(0.01)
                lease.check()
    except LeaseLostError as error:
        told = [f"{item.stage.value}={item.seconds:.2f}s" for item in news if item.stage is not LeaseStage.HELD]
        print(type(error).__name__, *told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="where to make a folder for it (a temporary one)")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--expiry", type=float, default=15, help="seconds")
    parser.add_argument("--largest", type=int, default=1, help="most slots taken at once")
    parser.add_argument("--kill-every", type=float, default=4, help="seconds")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(Settings.of(*options.work))
        return 0
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        settings = Settings(
            folder=Path(folder), slots=options.slots, expiry_s=options.expiry, largest=options.largest
        )
        settings.tickets.mkdir()
        contend(settings, processes=options.processes, seconds=options.seconds, kill_every_s=options.kill_every)
        fine = report(settings, tally(settings), options.seconds)
        fine &= stopped(settings)
    print("as promised" if fine else "NOT as promised")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
