"""Throttled arrays: a capacity is kept at every moment, whatever dies, and no work waits where it could run."""

from __future__ import annotations

import json
import os
import random
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcorch.errors import RecordError, SlurmUnavailableError
from hpcorch.journal.lock import exclusive
from hpcorch.model.job_states import JobState
from hpcorch.services.reports.throttled_wait import share_of
from hpcorch.services.throttling.state import parse_tag, read_state, state_directory, tag
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.client import CliClient
from tests.support import entities, processes
from tests.support.conformance.slurm_client import Scripts
from tests.support.memory_slurm import Killed, MemorySlurm
from tests.support.paths import FAKE_SLURM
from tests.support.waiting import wait_until

CAP = {"disk": 5}
EXAMPLES = int(os.environ.get("HPCORCH_EXAMPLES", "15"))
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # a busy machine may be slow at anything


@pytest.fixture(autouse=True)
def looks_at_once(tune):
    tune(THROTTLE_INTERVAL_S=0.0)


@pytest.fixture
def slurm():
    return MemorySlurm()


@pytest.fixture
def throttles(slurm, tmp_path):
    return Throttles(tmp_path, "lab", slurm)


@pytest.fixture
def submit(slurm, throttles):
    def call(size, units=None, **options):
        entry = slurm.submit(size, units or {"disk": 1}, **options)
        throttles.admit(entry)
        return entry.job_id

    return call


def limits(slurm):
    """array -> how many may run, 0 where all that wait are held."""
    held = {job: all(task.held for task in one.tasks.values()) for job, one in slurm.arrays.items()}
    return {job: 0 if held[job] else one.throttle for job, one in slurm.arrays.items()}


class World:
    """A cluster on which anything happens, and a user's processes that die anywhere."""

    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        self.slurm = MemorySlurm(meanwhile=self.meanwhile)
        self.throttles = Throttles(Path(folder), "lab", self.slurm)
        self.capacities = {"disk": 5, "db": 3}
        self.allowed = dict(self.capacities)
        self.admitted = 0

    def meanwhile(self):
        """Between any two steps: elements start, end, are requeued, suspended, and the capacity is kept."""
        before = {name: self.slurm.used(name) for name in self.allowed}
        self.slurm.start(self.random, chance=self.random.choice([0, 0, 0.2, 1]))
        for name, allowed in self.allowed.items():
            assert self.slurm.used(name) <= max(allowed, before[name]), f"{name} is oversubscribed"
        for task in self.slurm.running():
            chance = self.random.random()
            if chance < 0.1:
                task.state = JobState.COMPLETED
            elif chance < 0.14:
                task.state = JobState.PENDING

    def rebalance(self):
        self.throttles.rebalance(self.capacities)
        if all(self.promised(name) <= self.capacities[name] for name in self.allowed):
            self.allowed = dict(self.capacities)

    def promised(self, name):
        every = limits(self.slurm)
        return sum(
            max(every[job], one.count(JobState.RUNNING)) * one.units.get(name, 0)
            for job, one in self.slurm.arrays.items()
        )

    def happen(self):
        event = self.random.choice(["submit", "rebalance", "rebalance", "die", "capacity", "cancel", "down"])
        if event == "submit" and len(self.slurm.arrays) < 6:
            units = self.random.choice([{"disk": 1}, {"disk": 2}, {"disk": 1, "db": 1}, {"disk": 4}])
            bound = self.random.choice([None, 1, 2])
            self.throttles.admit(self.slurm.submit(self.random.randint(1, 8), units, bound))
        elif event == "die":
            self.slurm.dies_in = self.random.randint(0, 12)
            with suppress(Killed):
                self.rebalance()
            self.slurm.dies_in = None
        elif event == "capacity":
            self.capacities = {"disk": self.random.randint(4, 6), "db": self.random.randint(1, 3)}
            self.allowed = {name: max(self.allowed[name], now) for name, now in self.capacities.items()}
        elif event == "cancel":
            for task in self.slurm.running()[:1]:
                task.state = JobState.CANCELLED
        elif event == "down":
            self.slurm.down = True
            with suppress(SlurmUnavailableError):
                self.throttles.rebalance(self.capacities)
            self.slurm.down = False
        else:
            self.rebalance()

    def finish(self):
        """Nothing dies any more: everything comes to an end, and something runs all the time."""
        for _ in range(400):
            self.rebalance()
            self.slurm.start()
            left = [t for one in self.slurm.arrays.values() for t in one.tasks.values() if not t.state.is_final]
            if not left:
                return
            self.meanwhile()
        raise AssertionError(f"{len(left)} elements never ran")


@settings(max_examples=EXAMPLES, suppress_health_check=UNCHECKED)
@given(seed=st.integers(0, 2**32))
def test_no_event_at_any_moment_oversubscribes_and_everything_ends(seed, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # processes die here, machines do not
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder, seed)
        for _ in range(25):
            world.happen()
        world.finish()


@settings(max_examples=EXAMPLES, suppress_health_check=UNCHECKED)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_all_of_a_capacity_is_in_use_while_work_waits(sizes, seed, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    slurm, chance = MemorySlurm(), random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        throttles = Throttles(Path(folder), "lab", slurm)
        for size in sizes:
            throttles.admit(slurm.submit(size, {"disk": 1}))
            throttles.rebalance(CAP)
            slurm.start()
        left = sum(sizes)
        while left:
            chance.choice(slurm.running()).state = JobState.COMPLETED
            left -= 1
            slurm.start()
            throttles.rebalance(CAP)
            slurm.start()
            assert slurm.used("disk") == min(5, left)


@pytest.mark.parametrize("step", range(12))
def test_a_raise_that_broke_off_anywhere_is_reckoned_with_and_made_good(slurm, throttles, submit, step):
    first = submit(9)
    throttles.rebalance({"disk": 1})
    slurm.dies_in = step
    with suppress(Killed):
        throttles.rebalance(CAP)
    slurm.dies_in = None
    second = submit(9)
    throttles.rebalance({"disk": 2})
    assert limits(slurm) == {first: 1, second: 1}
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3, second: 2}


@pytest.mark.parametrize("step", range(12))
def test_a_hold_or_release_that_broke_off_anywhere_is_made_good(slurm, throttles, submit, step):
    first = submit(9)
    slurm.dies_in = step
    with suppress(Killed):
        throttles.rebalance(CAP)
        throttles.rebalance({"disk": 0})
    slurm.dies_in = None
    throttles.rebalance({"disk": 3})
    assert limits(slurm) == {first: 3}


def test_a_raise_that_broke_off_is_told_again_though_less_is_wanted_now(slurm, throttles, submit):
    first = submit(4)
    throttles.rebalance({"disk": 1})
    slurm.start()
    slurm.dies_in = 2  # after the look, before the request
    with pytest.raises(Killed):
        throttles.rebalance(CAP)
    slurm.running()[0].state = JobState.COMPLETED
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3}


def test_what_starts_between_the_look_and_the_lowering_is_seen_before_another_is_raised(slurm, throttles, submit):
    submit(9)
    throttles.rebalance(CAP)
    submit(9)
    asked = len(slurm.asked)
    slurm.meanwhile = lambda: slurm.start() if len(slurm.asked) > asked + 1 else None
    throttles.rebalance(CAP)
    slurm.start()
    assert slurm.used("disk") == 5


def test_an_array_that_runs_and_is_admitted_anew_has_no_limit_that_anybody_knows(slurm, throttles, tmp_path):
    first, second = slurm.submit(9, {"disk": 1}), slurm.submit(9, {"disk": 1})
    throttles.admit(first)
    throttles.rebalance({"disk": 2})
    (tmp_path / "lab" / "throttles.json").unlink()
    throttles.admit(first)
    throttles.admit(second)
    throttles.rebalance({"disk": 2})
    slurm.start()
    assert slurm.used("disk") == 2


def test_the_first_array_gets_all_and_the_next_one_its_share_as_room_comes(slurm, throttles, submit):
    first = submit(20)
    throttles.rebalance(CAP)
    slurm.start()
    assert limits(slurm) == {first: 5}
    second = submit(20)
    done = throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3, second: 0}, "lowered at once, and raised only when something has ended"
    assert [(one.array, one.before, one.after) for one in done.changes] == [(first, 5, 3)]
    slurm.running()[0].state = JobState.COMPLETED
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3, second: 1}
    slurm.running()[0].state = JobState.COMPLETED
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3, second: 2}


def test_a_rebalance_that_changes_nothing_takes_one_look(slurm, throttles, submit):
    submit(20)
    throttles.rebalance(CAP)
    slurm.start()
    slurm.asked.clear()
    assert throttles.rebalance(CAP).changes == ()
    assert slurm.asked == ["queue"]


def test_an_array_that_gets_one_element_is_only_released(slurm, throttles, submit):
    submit(3)
    throttles.rebalance({"disk": 1})
    assert slurm.asked == ["find_token", "queue", "release"]


def test_array_parallelism_stays_an_upper_bound(slurm, throttles, submit):
    first, second = submit(9, bound=2), submit(9)
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 2, second: 3}


def test_an_array_that_runs_freely_counts_as_soon_as_another_of_its_sweep_comes(slurm, throttles, submit):
    units = {"sweep:s": 1}
    free = replace(slurm.submit(5, units, 2), sweep="s", held=False, limit=2, throttle=2, uncertain=True)
    slurm.arrays[free.job_id].throttle = 2
    slurm.release([free.job_id])
    slurm.start()
    throttles.admit(free)
    second = replace(slurm.submit(5, units, 2), sweep="s")
    throttles.admit(second)
    most = 0
    for _ in range(40):
        throttles.rebalance({})
        slurm.start()
        most = max(most, slurm.used("sweep:s"))
        for task in slurm.running()[:1]:
            task.state = JobState.COMPLETED
    assert most == 2
    assert not slurm.running()
    states = {task.state for one in slurm.arrays.values() for task in one.tasks.values()}
    assert states == {JobState.COMPLETED}


def test_what_a_sweep_has_to_itself_is_found_again_after_the_loss_of_everything(slurm, throttles, submit, tmp_path):
    first, second = submit(4, {"sweep:s": 1}, bound=2), submit(4, {"sweep:s": 1}, bound=2)
    throttles.rebalance({})
    slurm.start()
    (tmp_path / "lab" / "throttles.json").unlink()
    throttles.rebalance({})
    slurm.start()
    assert slurm.used("sweep:s") == 2
    assert sum(limits(slurm).values()) == 2
    assert set(limits(slurm)) == {first, second}


def test_a_hold_of_the_users_is_not_lifted(slurm, throttles, submit):
    first, second = submit(3), submit(3)
    throttles.pause([first, f"{second}_[0,2]"])
    done = throttles.rebalance(CAP)
    assert {task.held for task in slurm.arrays[first].tasks.values()} == {True}
    assert [task.held for task in slurm.arrays[second].tasks.values()] == [True, False, True]
    assert done.waiting == {first: 0, second: 1}
    throttles.resume([first, f"{second}_0"])
    throttles.rebalance(CAP)
    assert {task.held for task in slurm.arrays[first].tasks.values()} == {False}
    assert [task.held for task in slurm.arrays[second].tasks.values()] == [False, False, True]


def test_a_hold_by_slurms_own_command_survives_a_hold_of_ours(slurm, throttles, submit):
    small = submit(9)
    throttles.rebalance(CAP)
    slurm.hold([f"{small}_8"])
    slurm.start()
    throttles.rebalance({"disk": 0})
    assert limits(slurm) == {small: 0}
    throttles.rebalance(CAP)
    assert [index for index, task in slurm.arrays[small].tasks.items() if task.held] == [8]


def test_a_paused_sweep_leaves_its_share_to_others(slurm, throttles, submit):
    first, second = submit(9), submit(9)
    throttles.rebalance(CAP)
    throttles.pause([first])
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 0, second: 5}


def test_an_array_released_by_hand_is_put_back(slurm, throttles, submit):
    first, second = submit(9), submit(9)
    throttles.rebalance({"disk": 1})
    slurm.start()
    slurm.release([second])
    throttles.rebalance({"disk": 1})
    assert limits(slurm) == {first: 1, second: 0}


def test_elements_that_wait_for_their_time_leave_their_share_to_others(slurm, throttles, submit):
    later = slurm.submit(9, {"disk": 1})
    throttles.admit(replace(later, begins_at=time.time() + 600))
    second = submit(9)
    throttles.rebalance(CAP)
    assert limits(slurm) == {later.job_id: 0, second: 5}


def test_elements_that_wait_for_their_time_do_so_with_slurm_where_nobody_may_come_by(slurm, throttles, submit):
    later = slurm.submit(9, {"disk": 1})
    throttles.admit(replace(later, begins_at=time.time() + 600))
    throttles.rebalance(CAP)
    assert limits(slurm) == {later.job_id: 5}
    second = submit(3)
    throttles.rebalance(CAP)
    assert limits(slurm) == {later.job_id: 0, second: 3}
    slurm.start()
    throttles.rebalance(CAP)
    assert limits(slurm)[later.job_id] == 2
    slurm.start()
    assert slurm.used("disk") == 5


def test_what_an_array_cannot_use_for_long_is_lent_to_others(slurm, throttles, submit, tune):
    first = submit(9)
    throttles.rebalance(CAP)
    second = submit(9)
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 3, second: 2}
    for index in range(2):  # nothing of the first starts: its partition is full
        slurm.arrays[second].tasks[index].state = JobState.RUNNING
    tune(UNUSED_SHARE_S=0)
    throttles.rebalance(CAP)
    assert limits(slurm) == {first: 1, second: 4}


def test_a_lost_file_is_made_again_from_the_queue(slurm, throttles, submit, tmp_path):
    first, second, third = submit(9), submit(9), submit(9)
    throttles.pause([third])
    throttles.rebalance(CAP)
    slurm.start()
    (tmp_path / "lab" / "throttles.json").write_text("{}")
    fourth = submit(9)
    done = throttles.rebalance(CAP)
    assert done.unclear == (third,)
    assert sum(limits(slurm).values()) <= 5
    assert limits(slurm)[third] == 0
    assert (tmp_path / "lab" / "throttles.json.damaged").exists()
    state = read_state(tmp_path / "lab" / "throttles.json")
    assert set(state.entries) == {first, second, third, fourth}
    assert state.complete


def test_who_knows_a_found_array_makes_it_start(slurm, throttles, submit, tmp_path):
    entry = slurm.submit(3, {"disk": 1})
    assert throttles.rebalance(CAP).unclear == (entry.job_id,)
    assert limits(slurm) == {entry.job_id: 0}
    throttles.admit(entry)
    assert throttles.rebalance(CAP).unclear == ()
    assert limits(slurm) == {entry.job_id: 3}


def test_a_file_of_a_later_version_is_refused(throttles, submit, tmp_path):
    submit(3)
    path = tmp_path / "lab" / "throttles.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(RecordError, match="later version"):
        throttles.rebalance(CAP)


def test_the_state_is_its_owners_alone(throttles, submit, tmp_path):
    submit(3)
    assert stat.S_IMODE((tmp_path / "lab").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "lab" / "throttles.json").stat().st_mode) == 0o600


def test_nothing_is_raised_while_slurm_is_down(slurm, throttles, submit):
    submit(3)
    slurm.down = True
    with pytest.raises(SlurmUnavailableError):
        throttles.rebalance(CAP)
    slurm.down = False
    assert limits(slurm) == {"1": 0}
    throttles.rebalance(CAP)
    assert limits(slurm) == {"1": 3}


def test_arrays_that_are_over_are_forgotten(slurm, throttles, submit, tmp_path):
    first = submit(1)
    throttles.rebalance(CAP)
    slurm.start()
    slurm.running()[0].state = JobState.COMPLETED
    assert throttles.rebalance(CAP).over == (first,)
    assert read_state(tmp_path / "lab" / "throttles.json").entries == {}


def test_an_id_that_slurm_gave_to_another_job_is_left_alone(slurm, throttles, submit):
    first = submit(3)
    slurm.arrays[first].comment = f"hpcorch:{'f' * 32}"
    assert throttles.rebalance(CAP).over == (first,)
    assert limits(slurm) == {first: 0}


def test_elements_that_need_more_than_there_is_are_named(throttles, submit):
    first = submit(3, {"disk": 6})
    assert throttles.rebalance(CAP).too_large == ((first, "disk"),)


def test_resources_are_shown_with_who_uses_them_and_who_waits(slurm, throttles, submit):
    submit(9)
    submit(9, {"disk": 2})
    throttles.rebalance(CAP)
    slurm.start()
    (disk,) = throttles.view(CAP)
    assert (disk.name, disk.capacity, disk.in_use, disk.waiting) == ("disk", 5, 5, 14)
    assert [(one.sweep, one.in_use, one.waiting) for one in disk.sweeps] == [("sweep 1", 3, 6), ("sweep 2", 2, 8)]


def test_what_its_user_holds_does_not_wait_for_its_share(slurm, throttles, submit, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCORCH_STATE", str(tmp_path))
    first, _ = submit(8), submit(9)
    throttles.rebalance(CAP)
    slurm.start()
    throttles.pause([f"{first}_7"])
    array = entities.submission(0, tuple(range(8)), job_id=first)
    assert share_of(array, 7, "JobHeldUser", slurm) is None
    waits = share_of(array, 6, "JobArrayTaskLimit", slurm)
    assert waits is not None
    assert "share of disk" in waits.meaning


def test_who_finds_the_lock_taken_leaves_a_mark_for_its_holder(throttles, submit, tmp_path):
    submit(3)
    holder = processes.in_another_process(lambda: _hold(tmp_path))
    wait_until((tmp_path / "held").exists)
    assert not throttles.rebalance(CAP).looked
    assert (tmp_path / "lab" / "throttles.dirty").exists()
    (tmp_path / "go").touch()
    assert processes.exit_code(holder) == 0
    assert throttles.rebalance(CAP).looked


def _hold(folder):
    with exclusive(folder / "lab" / "throttles.lock"):
        (folder / "held").touch()
        wait_until((folder / "go").exists)


def test_one_look_serves_all_who_ask_at_once(slurm, tmp_path, tune):
    tune(THROTTLE_INTERVAL_S=0.3)
    throttles = Throttles(tmp_path, "lab", slurm)
    throttles.admit(slurm.submit(3, {"disk": 1}))
    before = time.monotonic()
    throttles.rebalance(CAP)
    throttles.rebalance(CAP)
    assert time.monotonic() - before >= 0.25
    throttles.rebalance(CAP, force=True)
    assert slurm.asked.count("queue") == 3


def test_the_comment_says_what_an_array_uses():
    assert parse_tag(f"my words hpcorch:abc {tag({'db': 1, 'a.b-c': 2}, 4)}") == ({"db": 1, "a.b-c": 2}, 4)
    assert parse_tag(f"hpcorch:abc {tag({'db': 1}, None)}") == ({"db": 1}, None)
    assert parse_tag("hpcorch:abc") is None


def test_the_state_lies_where_the_variables_say():
    assert state_directory({"HPCORCH_STATE": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}) == Path("/a")
    assert state_directory({"XDG_STATE_HOME": "/b", "HOME": "/c"}) == Path("/b/hpcorch")
    assert state_directory({"HOME": "/c"}) == Path("/c/.local/state/hpcorch")


@pytest.mark.programs
def test_by_slurms_commands_a_capacity_is_kept_over_two_arrays(tmp_path):
    environ = {
        **os.environ,
        "PATH": f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}",
        "FAKE_SLURM_DIR": str(tmp_path / "slurm"),
    }
    client = CliClient(environ)
    throttles = Throttles(tmp_path / "state", "fake", client)
    log = tmp_path / "log"
    # The first one waits for another beside it, which there is room for.
    two = f"until [ $(grep -c enter {log}) -ge 2 ]; do sleep 0.02; done"
    body = f"echo enter >> {log}; {two}; sleep 0.3; echo leave >> {log}"
    for sweep in "ab":
        scripts = Scripts(tmp_path)
        script = scripts.write(body, array="0-3", array_parallelism=1, comment=tag({"disk": 1}, None))
        entry = MemorySlurm().submit(4, {"disk": 1})
        job_id = client.submit(script).job_id
        throttles.admit(replace(entry, job_id=job_id, sweep=sweep, token=scripts.token))

    def over():
        return not throttles.rebalance({"disk": 2}).running

    wait_until(over)
    inside = most = 0
    for line in log.read_text().split():
        inside += 1 if line == "enter" else -1
        most = max(most, inside)
    assert (most, log.read_text().count("leave")) == (2, 8)
