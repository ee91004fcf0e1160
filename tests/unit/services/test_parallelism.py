"""``array_parallelism`` over several arrays of a sweep: which of them are counted together, and how far."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcorch.errors import UsageError
from hpcorch.journal.control import ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.job_states import JobState
from hpcorch.model.keys.launch_keys import DEFAULT_PARALLELISM, LaunchKeys
from hpcorch.model.states import SubmissionState
from hpcorch.resources.profile.file import parse_profile
from hpcorch.resources.profile.profile import Profile
from hpcorch.resources.shares import Claim, divide
from hpcorch.services.site.terms import RunsOnTerms, reckon, terms_of
from hpcorch.services.submission.arrays import free_arrays, is_beside, throttle_of, together
from hpcorch.services.submission.request import Request
from hpcorch.services.throttling.state import Entry, State, own_of, parse_tag, tag
from tests.support import entities

OWN = own_of("s")


class Cluster:
    """A client of a cluster on which so many elements of each array are not over."""

    def __init__(self, **alive: int) -> None:
        self.alive = {name.strip("_"): count for name, count in alive.items()}
        self.asked = 0

    def queue(self, job_ids):
        self.asked += 1
        return [
            SimpleNamespace(state=state, array_job_id=job)
            for job in job_ids
            for state in [JobState.COMPLETED, *[JobState.RUNNING] * self.alive[job]]
        ]

    def config(self):
        return SimpleNamespace(array_tasks=300)


def request(runs, most, **options):
    parallel = LaunchKeys(name="n", array_parallelism=most)
    return Request(sweep="s", launch=0, runs=range(runs), keys=parallel, environ={}, host="h", **options)


def submission(number, runs, state=SubmissionState.RELEASED):
    job_id = None if state in (SubmissionState.INTENDED, SubmissionState.REJECTED) else str(100 + number)
    return entities.submission(number, tuple(range(runs)), state=state, job_id=job_id)


def history(*submissions, throttles=None, at_once=2):
    numbers = {one.submission: one for one in submissions}
    most = dict.fromkeys(numbers, at_once) if at_once else {}
    return ControlHistory(
        submissions=numbers, observed={}, requests=[], changed={}, throttles=throttles or {}, at_once=most
    )


def test_a_sweep_of_one_array_is_not_counted_and_slurm_is_not_asked():
    cluster = Cluster()
    assert not is_beside(request(12, 2), history(), cluster)
    assert not is_beside(request(12, 2), history(submission(0, 9, SubmissionState.REJECTED)), cluster)
    assert cluster.asked == 0


def test_the_default_is_each_arrays_own_and_slurm_is_not_asked():
    cluster = Cluster(_100=300)
    assert not is_beside(request(300, DEFAULT_PARALLELISM), history(submission(0, 300)), cluster)
    assert request(300, DEFAULT_PARALLELISM).units == {}
    assert cluster.asked == 0


@pytest.mark.parametrize(
    ("alive", "counted"), [(5, True), (1, True), pytest.param(0, False, id="the array before it is over")]
)
def test_an_array_beside_others_that_are_not_over_is_counted_with_them(alive, counted):
    assert is_beside(request(2, 2), history(submission(0, 5)), Cluster(_100=alive)) is counted


def test_runs_that_may_all_be_at_work_at_once_need_no_count():
    assert not is_beside(request(4, 8), history(submission(0, 5)), Cluster(_100=4))
    assert not is_beside(request(3, 8), history(submission(0, 5)), Cluster())


def test_an_array_of_which_nobody_knows_whether_it_exists_may_be_at_work():
    assert is_beside(request(2, 2), history(submission(0, 1, SubmissionState.INTENDED)), Cluster())


def test_of_a_new_sweep_the_first_array_keeps_its_own_limit_and_the_others_share_it():
    made = list(together([request(5, 2), request(5, 2), request(2, 2)]))
    assert [one.beside for one in made] == [False, True, True]
    assert [one.throttle for one in made] == [None, *[{"units": {OWN: 1}, "bound": 2}] * 2]
    assert not any(one.beside for one in together([request(5, 20), request(5, 20)]))


def test_the_arrays_before_it_are_counted_as_what_they_may_run(tmp_path):
    throttles = {1: {"units": {OWN: 1}, "bound": 2}}
    before = history(
        submission(0, 5), submission(1, 5), submission(2, 5, SubmissionState.REJECTED), throttles=throttles
    )
    (free,) = free_arrays(SweepLayout(tmp_path), before)
    assert (free.job_id, free.units, free.bound) == ("100", {OWN: 1}, 2)
    assert (free.held, free.limit, free.throttle) == (False, 2, 2)


def test_an_array_that_is_held_still_when_others_are_counted_is_counted_with_them(tmp_path):
    late = submission(0, 5, SubmissionState.ACCEPTED)
    throttles = {1: {"units": {OWN: 1}, "bound": 2}}
    now = history(late, submission(1, 5), throttles=throttles)
    assert throttle_of(now, late) == {"units": {OWN: 1}, "bound": 2}
    assert throttle_of(history(late), late) is None
    (free,) = free_arrays(SweepLayout(tmp_path), now)
    assert (free.held, free.limit) == (True, 0)


def test_a_comment_says_what_a_sweep_has_to_itself():
    units = {OWN: 1, "disk": 2}
    assert parse_tag(f"mine hpcorch:{'0' * 32} {tag(units, 2)}") == (units, 2)


def test_of_arrays_with_different_numbers_the_least_counts_for_all():
    def entry(job_id, bound):
        return Entry(job_id=job_id, sweep="s", directory="/s", submission=0, units={OWN: 1, "disk": 1}, bound=bound)

    state = State(entries={"1": entry("1", 4), "2": entry("2", 2)}, capacities={"disk": 9})
    assert state.limits == {OWN: 2, "disk": 9}


def test_a_number_of_its_own_costs_a_sweep_nothing_of_what_sweeps_share():
    both = [
        Claim(array="1", sweep="s", units={OWN: 1, "disk": 1}, want=9),
        Claim(array="2", sweep="t", units={"disk": 1}, want=9),
    ]
    assert divide(both, {OWN: 5, "disk": 10}) == {"1": 5, "2": 5}


def bound(*shares, cluster=None):
    worst, caps = reckon(Profile(), [_on_terms(*one) for one in shares], cluster or Cluster())
    return worst.at_once, caps["array_parallelism"]


def _on_terms(runs, most, launch=1, **keys):
    return RunsOnTerms(
        runs=runs, terms=terms_of(Profile(), LaunchKeys(array_parallelism=most, **keys)), launch=launch
    )


def test_the_default_lets_so_many_run_of_each_array():
    assert bound((300, 256)) == (256, 256)
    assert bound((900, 256)) == (768, 768)  # three arrays
    assert bound((200, 256), (200, 256)) == (400, 512)  # runs that ask for different amounts


def test_a_number_that_was_asked_for_holds_for_all_arrays():
    assert bound((900, 8)) == (8, 8)
    assert bound((200, 8), (200, 8)) == (8, 8)


def test_launches_that_wait_for_each_other_are_not_at_work_together():
    assert bound((200, 256, 1), (200, 256, 2)) == (256, 256)


def test_of_packed_tasks_so_many_runs_are_at_work_as_their_tasks_execute_at_once():
    packed = {"runs_per_task": 10, "parallel_per_task": 2}
    worst, caps = reckon(Profile(), [_on_terms(100, 256, **packed)], Cluster())
    assert (worst.tasks, worst.at_once, worst.bound_by) == (10, 20, "runs_per_task")
    assert caps == {"array_parallelism": 512, "runs_per_task": 20}  # by default, so many tasks
    worst, caps = reckon(Profile(), [_on_terms(100, 8, **packed)], Cluster())
    assert (worst.tasks, worst.at_once, caps["array_parallelism"]) == (10, 8, 8)
    worst, _ = reckon(Profile(), [_on_terms(9000, 256, runs_per_task=10)], Cluster())
    assert worst.tasks == 300  # Slurm lets an array have no more


SHARED = """
resources: {disk: {capacity: 5, enforced: throttle}, seats: {capacity: 8, enforced: license}}
pools: {small: {limits: {max_running: 3}}, half: {limits: {max_running: 128}}}
"""


def test_a_packed_task_takes_what_its_runs_take_at_once():
    profile = parse_profile(SHARED, "site.yaml")
    keys = LaunchKeys.parse(
        {"runs_per_task": "auto", "parallel_per_task": 2, "resources": {"disk": 1, "seats": 2}, "pool": "small"}
    )
    terms = terms_of(profile, keys)
    assert terms.caps == {"disk": 4, "array_parallelism": 512, "pool small": 6}
    assert (terms.keys.licenses, terms.keys.throttles) == ({"seats": 4}, {"disk": 1})
    assert terms.keys.tasks_for(1000) == 3  # as many jobs as the pool lets
    assert terms_of(profile, keys.changed({"pool": "half"})).keys.tasks_for(100_000) == 127
    with pytest.raises(UsageError, match="With parallel_per_task=6 a task takes more of disk than there is"):
        terms_of(profile, keys.changed({"parallel_per_task": 6}))


def test_of_the_elements_of_packed_arrays_each_counts_for_the_runs_that_it_executes_at_once():
    packed = LaunchKeys(name="n", array_parallelism=8, runs_per_task=5, parallel_per_task=4)
    again = Request(sweep="s", launch=0, runs=range(4), keys=packed, environ={}, host="h")
    assert again.most_at_work == 4
    first = entities.submission(0, tuple(range(40)), job_id="100", tasks=2)
    before = replace(history(first, at_once=8), parallel={0: 4})
    assert is_beside(again, before, Cluster(_100=2))  # eight runs are at work
    assert not is_beside(again, before, Cluster(_100=1))
    assert [one.beside for one in together([again, again, again])] == [False, False, True]
    (entry,) = free_arrays(SweepLayout(Path("/s")), replace(before, throttles={}))
    assert entry.units == {OWN: 4}
