"""What a sweep takes in the worst case, and which limits of the profile it breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.errors import PolicyError, UsageError
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.resources.envelope import Group, check_sweep, worst_case
from hpcorch.resources.profile.file import parse_profile
from hpcorch.resources.profile.profile import Profile
from hpcorch.resources.request import Demand, demand_of, parse_gpus, parse_minutes


def profile(text: str) -> Profile:
    return parse_profile(text, "site.yaml")


def gpu_runs(runs: int, gpus: int, minutes: int | None = 60, **more: object) -> Group:
    return Group(runs=runs, demand=Demand(gpus={"a100": gpus}, cpus=4, walltime_min=minutes), **more)


@pytest.mark.parametrize(
    ("options", "gpus", "cpus", "minutes"),
    [
        ({}, {}, 1, None),
        ({"timeout_min": 90, "cpus_per_task": 4}, {}, 4, 90),
        ({"gpus_per_node": 2}, {"": 2}, 1, None),
        ({"gpus_per_node": "a100:2", "nodes": 3, "cpus_per_task": 8}, {"a100": 6}, 24, None),
        ({"gpus_per_task": "h100:1", "tasks_per_node": 4, "nodes": 2}, {"h100": 8}, 8, None),
        ({"gres": "gpu:a100:2,nvme:1", "nodes": 2}, {"a100": 4}, 2, None),
        ({"gres": "gpu"}, {"": 1}, 1, None),
        ({"gres": "gpu:3"}, {"": 3}, 1, None),
        ({"gres": "nvme:1"}, {}, 1, None),
        ({"gpus_per_node": 2, "cpus_per_gpu": 6}, {"": 2}, 12, None),
        ({"gpus_per_node": 1, "gres": "gpu:a100:4"}, {"a100": 4}, 1, None),
        ({"gpus_per_node": "a100:2,h100:1"}, {"a100": 2, "h100": 1}, 1, None),
        ({"gpus_per_node": 0}, {}, 1, None),
        ({"timeout_min": 60, "additional_parameters": {"time": "1-00:00:00"}}, {}, 1, 1440),
        ({"timeout_min": 60, "additional_parameters": {"time": "UNLIMITED"}}, {}, 1, None),
        ({"gpus_per_node": 1, "additional_parameters": {"gpus_per_node": 4}}, {"": 4}, 1, None),
        ({"additional_parameters": {"gpus": "a100:16", "ntasks": 8}}, {"a100": 16}, 8, None),
        ({"additional_parameters": {"nodes": "2-4", "gpus-per-node": 1}}, {"": 4}, 4, None),
    ],
)
def test_what_a_run_occupies_is_read_from_the_launchers_keys(options, gpus, cpus, minutes):
    assert demand_of(LaunchKeys.parse({"timeout_min": 0, **options})) == Demand(
        gpus=gpus, cpus=cpus, walltime_min=minutes
    )


@pytest.mark.parametrize("value", ["many:", "a100:two", ":2", "-1"])
def test_a_number_of_gpus_that_cannot_be_read_is_refused(value):
    if value == "-1":  # a word, which Slurm would take for a type
        assert parse_gpus(value) == {"-1": 1}
        return
    with pytest.raises(UsageError, match="not a number of GPUs"):
        parse_gpus(value)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("2:30:00", 150),
        ("1-2", 1560),
        ("1-02:30", 1590),
        ("0", None),
        ("infinite", None),
    ],
)
def test_time_limits_are_read_as_sbatch_reads_them(text, minutes):
    assert parse_minutes(text) == minutes


def test_a_time_limit_that_cannot_be_read_is_refused():
    with pytest.raises(UsageError, match="not a time limit"):
        parse_minutes("soon")


def test_the_worst_case_is_every_run_to_its_time_limit():
    worst = worst_case(Profile(), [gpu_runs(10, 2, 90), gpu_runs(5, 4, 30)])
    assert (worst.runs, worst.at_once, worst.bound_by) == (15, 15, None)
    assert worst.gpus == 10 * 2 + 5 * 4
    assert worst.gpu_hours == 10 * 2 * 1.5 + 5 * 4 * 0.5
    assert worst.cpu_hours == 10 * 4 * 1.5 + 5 * 4 * 0.5
    assert worst.walltime_min == 90


def test_what_can_run_at_once_bounds_the_gpus_and_not_the_hours():
    worst = worst_case(Profile(), [gpu_runs(10, 2), gpu_runs(3, 4)], {"array_parallelism": 256, "scratch_io": 5})
    assert (worst.at_once, worst.bound_by) == (5, "scratch_io")
    assert worst.gpus == 3 * 4 + 2 * 2, "the runs that use most of them may run together"
    assert worst.gpu_hours == 32


def test_runs_that_are_started_again_after_a_time_out_cost_again():
    assert worst_case(Profile(), [gpu_runs(10, 1, 60, starts=3)]).gpu_hours == 30


def test_the_worst_case_of_packed_tasks_is_each_of_them_to_its_time_limit():
    packed = gpu_runs(100, 2, 60, tasks=5, parallel=3, starts=2)
    worst = worst_case(Profile(), [packed], {"runs_per_task": packed.at_once})
    assert (worst.runs, worst.tasks, worst.at_once, worst.bound_by) == (100, 5, 15, "runs_per_task")
    assert (worst.gpus, worst.gpu_hours) == (5 * 2, 5 * 2 * 2)
    assert gpu_runs(10, 1, tasks=5, parallel=3).at_once == 10
    both = worst_case(Profile(), [packed, gpu_runs(4, 1)], {"disk": 7})
    assert (both.tasks, both.at_once, both.gpus) == (9, 7, 3 * 2), "seven runs of the largest keep three tasks busy"


def test_a_limit_of_packed_tasks_is_one_of_tasks():
    with pytest.raises(PolicyError, match=r"60 minutes a task, and envelope\.max_walltime_min is 30"):
        check_sweep(profile("envelope: {max_walltime_min: 30}"), [gpu_runs(9, 1, tasks=3)])
    with pytest.raises(PolicyError, match="one task asks for 4 GPUs of type a100, and there are 2"):
        check_sweep(
            profile("resources: {cards: {kind: gpu, enforced: system, capacity: 2, gpu_type: a100}}"),
            [gpu_runs(9, 4, tasks=3)],
        )


def test_what_has_a_price_is_reckoned():
    priced = profile("prices: {gpu_hour: 2, cpu_hour: 0.5}")
    assert worst_case(priced, [gpu_runs(10, 1)]).cost == 10 * 2 + 40 * 0.5
    assert worst_case(priced, [gpu_runs(10, 1, None)]).cost is None
    assert worst_case(Profile(), [gpu_runs(10, 1, None)]).cost == 0


def test_runs_without_gpus_use_none_even_without_a_time_limit():
    worst = worst_case(Profile(), [Group(runs=3, demand=Demand())])
    assert (worst.gpu_hours, worst.cpu_hours, worst.walltime_min) == (0, None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("envelope: {max_runs: 9}", "10 runs, and envelope.max_runs is 9"),
        ("envelope: {max_gpus: 8}", "20 GPUs at once, and envelope.max_gpus is 8"),
        ("envelope: {max_gpu_hours: 19.5}", "20 GPU-hours in the worst case, and envelope.max_gpu_hours is 19.5"),
        ("envelope: {max_walltime_min: 59}", "60 minutes a run, and envelope.max_walltime_min is 59"),
        (
            "policies: {max_cost: 30}\nprices: {gpu_hour: 2, currency: EUR}",
            "40 EUR in the worst case, and policies.max_cost is 30",
        ),
        ("policies: {partitions: [a, b]}", "partition normal is not one of policies.partitions (a, b)"),
        (
            "resources:\n  a: {kind: gpu, gpu_type: a100, capacity: 1, enforced: system}",
            "one run asks for 2 GPUs of type a100, and there are 1",
        ),
        ("resources:\n  a: {kind: gpu, capacity: 1, enforced: system}", "one run asks for 2 GPUs, and there are 1"),
    ],
)
def test_a_broken_limit_refuses_the_sweep_with_the_numbers(text, words):
    with pytest.raises(PolicyError) as caught:
        check_sweep(profile(text), [gpu_runs(10, 2, partition="normal")])
    assert words in str(caught.value)
    assert str(caught.value).startswith(
        "The site profile site.yaml forbids this sweep, and nothing was submitted: "
    )


def test_every_broken_limit_is_told_at_once():
    with pytest.raises(PolicyError, match=r"10 runs.*; 20 GPUs"):
        check_sweep(profile("envelope: {max_runs: 9, max_gpus: 8}"), [gpu_runs(10, 2)])


def test_without_a_time_limit_hours_cannot_be_promised():
    limited = profile("envelope: {max_gpu_hours: 100, max_walltime_min: 60}")
    with pytest.raises(PolicyError, match=r"number of GPU-hours.*set timeout_min.*number of minutes"):
        check_sweep(limited, [gpu_runs(1, 1, None)])


def test_a_policy_on_partitions_wants_one_named():
    with pytest.raises(PolicyError, match="no partition is named"):
        check_sweep(profile("policies: {partitions: [a]}"), [gpu_runs(1, 1)])


def test_a_pools_limits_hold_for_each_run():
    limited = profile("pools:\n  p: {partition: a, limits: {max_gpus: 4, max_walltime_min: 30}}")
    with pytest.raises(PolicyError, match=r"60 minutes.*pool p is 30; 8 GPUs for one run.*pool p is 4"):
        check_sweep(limited, [gpu_runs(1, 8)], pool=limited.pool("p"))


def test_a_sweep_within_its_limits_is_let_through():
    limited = profile(
        "envelope: {max_runs: 10, max_gpus: 4, max_gpu_hours: 20, max_walltime_min: 60}\n"
        "policies: {partitions: [a], max_cost: 40}\nprices: {gpu_hour: 2}\n"
        "resources:\n  a100: {kind: gpu, gpu_type: a100, capacity: 2, enforced: system}"
    )
    worst = check_sweep(limited, [gpu_runs(10, 2, partition="a")], {"scratch_io": 2})
    assert (worst.gpus, worst.gpu_hours, worst.cost) == (4, 20, 40)


_GROUPS = st.lists(
    st.builds(gpu_runs, st.integers(0, 50), st.integers(0, 8), st.integers(1, 5000)), min_size=1, max_size=5
)


@given(groups=_GROUPS, cap=st.integers(1, 300))
def test_a_cap_never_raises_what_a_sweep_takes(groups, cap):
    free, capped = worst_case(Profile(), groups), worst_case(Profile(), groups, {"cap": cap})
    assert capped.gpus <= free.gpus == sum(g.runs * g.demand.gpu_count for g in groups)
    assert capped.gpu_hours == free.gpu_hours
    assert capped.at_once == min(cap, free.runs)
