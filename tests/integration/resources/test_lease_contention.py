"""Leases among processes that contend, die, are stopped, fork and exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from hpcorch.errors import LeaseLostError, UsageError
from hpcorch.resources.leases.lease import Lease, LeaseNews, Leases, LeaseStage
from hpcorch.resources.leases.listing import holders, sharing_problem, waiting
from hpcorch.users import own_name
from tests.support import processes
from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_until

TRIAL = REPOSITORY / "scripts" / "bench" / "leases.py"
# In the first half of a trial those are killed whose tickets expire in the second.
TRIAL_OF_MANY = ["--seconds", "25", "--expiry", "15", "--kill-every", "2"]
SHORT_TRIAL_OF_MANY = ["--seconds", "14", "--expiry", "7", "--kill-every", "1"]
NOTICED_S = 20.0  # on a busy machine

# Takes the only slot, says so and goes on as the test says.
HOLDER = """
import os, signal, sys, time
from pathlib import Path
from hpcorch.errors import LeaseLostError
from hpcorch.resources.leases.lease import Leases
def stop(number, frame):
    raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
with Leases(resource="io", directory=Path(sys.argv[1]), capacity=1, expiry_s=float(sys.argv[2])).hold() as lease:
    print("held", flush=True)
    {rest}
"""


def leases(directory: Path, *, expiry_s: float = 30, told: list[LeaseNews] | None = None) -> Leases:
    observer = (lambda news: None) if told is None else told.append
    return Leases(
        resource="io", directory=directory, capacity=1, expiry_s=expiry_s, run="sweep/3", observer=observer
    )


def a_holder(directory: Path, rest: str = "time.sleep(60)", *, expiry_s: float = 30) -> processes.Program:
    return a_program(HOLDER.format(rest=rest), directory, expiry_s=expiry_s)


def a_program(code: str, directory: Path, *, expiry_s: float) -> processes.Program:
    """A program that holds the slot."""
    command = [sys.executable, "-c", code, str(directory), str(expiry_s)]
    process = processes.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def trial(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TRIAL), *options], capture_output=True, text=True, timeout=280)


def stages(told: list[LeaseNews]) -> list[LeaseStage]:
    return [news.stage for news in told]


def in_fork(act: Callable[[], int]) -> int:
    """The exit code of a fork of this process that does this."""
    return processes.exit_code(processes.in_another_process(lambda: os._exit(act())))


def test_a_few_contend_and_die(tmp_path: Path) -> None:
    words = ["--processes", "8", "--slots", "2", "--largest", "2", "--seconds", "5", "--kill-every", "1.5"]
    done = trial(*words, "--expiry", "6", "--directory", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.programs
def test_many_contend_and_die(tmp_path: Path) -> None:
    words = TRIAL_OF_MANY if "HPCORCH_EXAMPLES" in os.environ else SHORT_TRIAL_OF_MANY
    done = trial(*words, "--directory", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_lease_went_through_is_told(tmp_path: Path) -> None:
    told: list[LeaseNews] = []
    with a_holder(tmp_path, "sys.stdin.read()") as holder:

        def observer(news: LeaseNews) -> None:
            told.append(news)
            holder.stdin.close()  # now that this one waits

        with replace(leases(tmp_path), observer=observer).hold() as lease:
            lease.check()
            lease.release()
            lease.release()
            lease.check()
    assert stages(told) == [LeaseStage.WAITING, LeaseStage.HELD, LeaseStage.RELEASED]
    assert told[0].ahead == 1
    assert told[1].seconds > 0


def test_who_holds_and_who_waits_can_be_seen(tmp_path: Path) -> None:
    with a_holder(tmp_path) as holder, a_holder_to_be(tmp_path):
        (held,), (queuing,) = holders(tmp_path), waiting(tmp_path)
        assert (held.pid, held.count, held.capacity, held.run, held.expired) == (holder.pid, 1, 1, None, False)
        assert (queuing.pid, queuing.run) == (os.getpid(), "sweep/3")
        assert held.number < queuing.number
        assert 0 <= held.heartbeat_age_s < 30
        assert held.user
        assert held.host
        holder.terminate()
    assert holders(tmp_path) == waiting(tmp_path) == []


@contextmanager
def a_holder_to_be(directory: Path) -> Iterator[None]:
    """A thread that waits for the slot; at the block's end it gets it and gives it back."""
    told = threading.Event()
    queued = replace(leases(directory), observer=lambda _: told.set())

    def queue() -> None:
        with queued.hold():
            pass

    thread = threading.Thread(target=queue)
    thread.start()
    assert told.wait(60)
    yield
    thread.join(120)


def test_a_ticket_whose_maker_died_while_writing_it_is_shown_as_far_as_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "io.000000000001.1of1.30000ms.0123456789abcdef").touch()
    (owner,) = waiting(tmp_path)
    assert (owner.number, owner.user, owner.pid) == (1, own_name(), None)


def test_a_folder_that_is_missing_cannot_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="site profile"):
        holders(tmp_path / "missing")


def test_a_folder_that_only_its_owner_may_write_is_not_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    problem = sharing_problem(tmp_path)
    assert problem is not None
    assert "2770" in problem


def test_a_holder_that_is_terminated_gives_its_slot_back_at_once(tmp_path: Path) -> None:
    with a_holder(tmp_path) as holder:
        holder.terminate()
        assert holder.wait() == 143
    assert holders(tmp_path) == []


def test_the_slot_of_one_that_ended_without_a_word_returns_within_the_expiry(tmp_path: Path) -> None:
    with a_holder(tmp_path, "os._exit(7)", expiry_s=3) as holder:
        assert holder.wait(60) == 7
    since = time.monotonic()
    with leases(tmp_path, expiry_s=3).hold():
        assert time.monotonic() - since < 3 + NOTICED_S


def test_the_heartbeat_keeps_a_lease_beyond_its_expiry_but_no_process(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from hpcorch.resources.leases.lease import Leases
hold = Leases(resource="io", directory=Path(sys.argv[1]), capacity=1, expiry_s=60).hold()
hold.__enter__()
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=120).returncode == 0
    told: list[LeaseNews] = []
    with Leases(resource="other", directory=tmp_path, capacity=1, expiry_s=3, observer=told.append).hold() as lease:
        time.sleep(3.5)
        lease.check()
    assert stages(told) == [LeaseStage.HELD, LeaseStage.RELEASED]


def test_a_holder_that_was_stopped_past_its_expiry_is_told_at_the_blocks_end(tmp_path: Path) -> None:
    block = HOLDER.format(rest="sys.stdin.read()")
    code = "try:\n" + indent(block, "    ") + "except LeaseLostError: print('lost')"
    with a_program(code, tmp_path, expiry_s=3) as holder:
        holder.send_signal(signal.SIGSTOP)
        with leases(tmp_path, expiry_s=3).hold() as lease:
            holder.send_signal(signal.SIGCONT)
            assert holder.communicate()[0] == "lost\n"
            lease.check()
            assert [owner.pid for owner in holders(tmp_path)] == [os.getpid()]


def lose(lease: Lease, directory: Path) -> None:
    """Remove the tickets, and wait for the next heartbeat to find that out."""
    for path in directory.iterdir():
        path.unlink()
    with pytest.raises(LeaseLostError, match="do this phase again"):
        wait_until(lease.check)


def test_a_lease_whose_ticket_was_removed_is_lost(tmp_path: Path) -> None:
    told: list[LeaseNews] = []

    def stage() -> None:
        with leases(tmp_path, expiry_s=1, told=told).hold() as lease:
            lose(lease, tmp_path)

    with pytest.raises(LeaseLostError, match="do this phase again"):
        stage()
    assert stages(told) == [LeaseStage.HELD, LeaseStage.LOST, LeaseStage.OVER_HELD]


def test_a_fault_in_the_block_is_not_hidden_by_the_loss_of_the_lease(tmp_path: Path) -> None:
    def stage() -> None:
        with leases(tmp_path, expiry_s=1).hold() as lease:
            lose(lease, tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_holder_does_not_hold_the_lease_and_does_not_give_it_back(tmp_path: Path) -> None:
    with leases(tmp_path).hold() as lease:

        def act() -> int:
            lease.release()
            try:
                lease.check()
            except LeaseLostError:
                return 42
            return 0

        assert in_fork(act) == 42
        lease.check()
        assert len(holders(tmp_path)) == 1
