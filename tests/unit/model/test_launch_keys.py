"""The launcher's keys as one value: checked, recorded and read back, compared, changed."""

from __future__ import annotations

import json
import pickle

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from hpcorch.errors import UsageError
from hpcorch.launcher.config import ignored_locally, local_configuration, slurm_configuration, unknown_key
from hpcorch.model.keys.launch_keys import KEYS, LaunchKeys

GIVEN = {
    "gpus_per_node": "a100:2",
    "licenses": {"scratch": 1},
    "max_retries": {"NODE_FAIL": 3},
    "additional_parameters": {"nodes": 2, "exclusive": True, "mail-type": None},
    "setup": ["module load x"],
    "drift": {"code": "warn"},
    "resources": {"scratch_io": 2},
    "throttles": {"scratch_io": 2},
}


def test_what_is_recorded_reads_back_as_the_same_value():
    keys = LaunchKeys.parse(GIVEN)
    recorded = json.loads(json.dumps(keys.plain()))
    assert LaunchKeys.recorded(recorded) == keys
    assert recorded.keys() == KEYS.keys(), "a default that changes later changes nothing of what was launched"


def test_of_a_script_or_command_what_is_no_key_is_passed_over():
    assert LaunchKeys.recorded({"log": "/x-%j", "partition": "p"}) == LaunchKeys(partition="p")


def test_runs_that_ask_for_the_same_ask_for_equal_values():
    one = LaunchKeys.parse({"licenses": {"a": 1, "b": 2}, "setup": ["x"]})
    other = LaunchKeys.parse({"setup": ("x",), "licenses": {"b": 2, "a": 1}})
    assert one == other
    assert len({one: 0, other: 1}) == 1
    flags = [LaunchKeys.parse({"additional_parameters": {"exclusive": value}}) for value in (True, 1, "1", False)]
    assert len(set(flags)) == 3, "--exclusive is not --exclusive=1"


def test_changes_lead_from_one_value_to_the_other():
    before = LaunchKeys.parse({"partition": "a", "mem_gb": 4, "setup": ["x"]})
    after = before.changed({"partition": None, "setup": [], "licenses": {"scratch": 1}})
    changes = after.changes_since(before)
    assert changes == {"partition": None, "setup": [], "licenses": {"scratch": 1}}
    assert before.changed(changes) == after
    assert before.changed({}) is before


def test_nobody_changes_a_value():
    with pytest.raises(AttributeError):
        LaunchKeys().nodes = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        LaunchKeys.parse(GIVEN).licenses["x"] = 1  # type: ignore[index]


@pytest.mark.parametrize("configuration", [slurm_configuration, local_configuration])
def test_what_hydra_hands_over_unchanged_are_the_defaults(configuration):
    composed = OmegaConf.merge(configuration(), {"name": "n"})
    given = OmegaConf.to_container(pickle.loads(pickle.dumps(composed)))
    del given["_target_"]
    assert unknown_key(given) is None
    said = LaunchKeys.parse(given).changes_since(LaunchKeys())
    limit = {} if configuration is slurm_configuration else {"timeout_min": 0}
    policies = {"code": "refuse", "configuration": "refuse", "environment": "record", "inputs": "warn"}
    assert said == {"name": "n", "drift": policies, **limit}


@pytest.mark.parametrize(
    ("key", "value"),
    [("nodes", "two"), ("nodes", None), ("mem_gb", "x"), ("compact", "perhaps"), ("name", None), ("tags", 3)],
)
def test_hydra_refuses_a_value_of_another_type(key, value):
    with pytest.raises(ValidationError):
        OmegaConf.merge(slurm_configuration(), {key: value})


@pytest.mark.parametrize(
    ("key", "given", "taken"),
    [
        ("nodes", "2", 2),
        ("tasks_per_node", None, None),
        ("partition", 7, "7"),
        ("setup", ["module load x"], ["module load x"]),
        ("additional_parameters", {"wckey": "w"}, {"wckey": "w"}),
        ("gpus_per_node", "a100:2", "a100:2"),
        ("licenses", {"scratch": 1}, {"scratch": 1}),
    ],
)
def test_hydra_takes_what_users_write(key, given, taken):
    assert OmegaConf.merge(slurm_configuration(), {key: given})[key] == taken


def test_a_machine_names_the_keys_that_it_has_no_use_for():
    given = {"partition": "p", "mem_gb": 3, "gres": "gpu:1", "slots": 2, "max_retries": 1, "array_parallelism": 4}
    assert ignored_locally(LaunchKeys.parse(given)) == ["array_parallelism", "mem_gb", "partition"]
    assert ignored_locally(LaunchKeys()) == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("timeout_mn", 5, "did you mean 'timeout_min'"),
        ("wckey", "x", "additional_parameters"),
        ("nodes", 0, "at least 1"),
        ("nodes", "two", "whole number"),
        ("nodes", True, "whole number"),
        ("mem_gb", -1, "at least 0"),
        ("mem_gb", float("nan"), "at least 0"),
        ("mem_gb", 2**31, "at most 2147483647, not 2147483648"),
        ("mem_gb", float("inf"), "at most 2147483647, not inf"),
        ("nodes", 10**400, "at most 2147483647, not 10{98}…"),
        ("nice", -(10**400), "at most 2147483647"),
        ("seed", 2**63, "at most 9223372036854775807"),
        ("partition", ["a"], "must be text"),
        ("name", "a\nb", "line break"),
        ("stderr_to_stdout", "yes", "true or false"),
        ("setup", "module load x", "list of texts"),
        ("licenses", {"a b": 1}, "name of a licence"),
        ("licenses", {"scratch": 0}, "licenses.scratch"),
        ("licenses", 3, "mapping"),
        ("additional_parameters", {"--mail-type": "END"}, "without dashes"),
        ("additional_parameters", {"x": ["y"]}, "additional_parameters.x"),
        ("additional_parameters", {"x": "y\nz"}, "line break"),
        ("gpus_per_node", -1, "at least 0"),
        ("resources", ["scratch_io"], "such as resources="),
        ("resources", 3, "such as resources="),
        ("resources", {"writers": True}, r"resources\.writers must be a whole number of at least 1, not True"),
        ("resources", {"writers": "2"}, "not '2'"),
        ("drift", "record", "write drift.code=warn"),
        ("drift", {"cod": "warn"}, "drift.cod does not exist: there are code, configuration"),
        ("drift", {"code": "ignore"}, "drift.code=ignore is none of refuse, warn, record"),
        ("max_retries", {"NODE_FAILED": 1}, "did you mean NODE_FAIL"),
    ],
)
def test_a_wrong_value_is_named_with_its_cure(key, value, words):
    with pytest.raises(UsageError, match=words):
        LaunchKeys.parse({key: value})


PACKED = {"runs_per_task": "auto"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**PACKED, "nodes": 2}, "leave out nodes, tasks_per_node and srun_args, or runs_per_task"),
        ({**PACKED, "tasks_per_node": 2}, "With runs_per_task=auto each run is one process of its task"),
        ({**PACKED, "srun_args": ["--exact"]}, "srun_args"),
        ({**PACKED, "additional_parameters": {"ntasks": 4}}, "each run is one process"),
        ({**PACKED, "additional_parameters": {"ntasks_per_node": "2"}}, "each run is one process"),
        ({"parallel_per_task": 2}, "set hydra.launcher.runs_per_task=auto, or leave parallel_per_task out"),
        ({**PACKED, "parallel_per_task": 4, "array_parallelism": 3}, "than array_parallelism=3 lets"),
    ],
)
def test_packed_tasks_that_cannot_be_are_refused_with_what_can(given, words):
    with pytest.raises(UsageError, match=words):
        LaunchKeys.parse(given).check_packed()


@pytest.mark.parametrize(
    "given",
    [
        {"nodes": 2, "isolation": "process"},  # each run starts its program itself: so it is asked for, so it is
        {**PACKED, "additional_parameters": {"nodes": 1}, "parallel_per_task": 300},
        {**PACKED, "parallel_per_task": 3, "array_parallelism": 3, "isolation": "process"},
    ],
)
def test_other_packed_tasks_are_not(given):
    LaunchKeys.parse(given).check_packed()


def test_none_means_the_default():
    assert LaunchKeys.parse({"tasks_per_node": None, "setup": None, "nodes": None}) == LaunchKeys()
