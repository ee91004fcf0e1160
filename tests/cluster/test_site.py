"""Site profiles and submit limits on real daemons."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until

LIMITS = """
import json, sys
from dataclasses import asdict
from hpcorch.services.site.user_limits import user_limits
from hpcorch.slurm.client import CliClient
asked = [json.loads(words) for words in sys.argv[1:]]
print(json.dumps([asdict(user_limits(CliClient(), **one)) for one in asked]))
"""
LICENSES = """
import sys
from hpcorch.services.site.project_profile import ask_licenses
from hpcorch.slurm.client import CliClient
print(ask_licenses(sys.argv[1], CliClient()).at_once)
"""


@pytest.fixture
def hpcorch(as_alice):
    def run(*words, code=0):
        done = as_alice(["hpcorch", *words])
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def sacctmgr(lab):
    def run(*words):
        done = lab.root(["sacctmgr", "-i", *words])
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture
def narrow(lab, sacctmgr) -> Iterator[None]:
    """QOS narrow with MaxSubmitJobsPU 5, for an association of alice's with MaxSubmitJobs 3."""
    sacctmgr("add", "qos", "narrow", "set", "MaxSubmitJobsPerUser=5", "MaxJobsPerUser=2")
    sacctmgr("modify", "account", "lab", "set", "qos+=narrow")
    sacctmgr("modify", "user", "alice", "set", "MaxSubmitJobs=3")
    cache = ["scontrol", "show", "assoc_mgr", "users=alice", "flags=assoc"]
    wait_until(lambda: "MaxSubmitJobs=3" in lab.root(cache).stdout)  # the controller gets to know a moment later
    yield
    sacctmgr("modify", "user", "alice", "set", "MaxSubmitJobs=-1")
    sacctmgr("modify", "account", "lab", "set", "qos-=narrow")
    sacctmgr("delete", "qos", "narrow")


def limits(as_alice, *asked):
    return json.loads(as_alice.output(["python", "-c", LIMITS, *(json.dumps(one) for one in asked)]))


def submit(as_alice, tasks, *options):
    """Whether a held array with so many tasks is accepted; it is cancelled again."""
    done = as_alice(["sbatch", "--parsable", "-H", f"--array=0-{tasks - 1}", *options, "--wrap", "true"])
    if done.returncode == 0:
        as_alice.output(["scancel", done.stdout.strip()])
    else:
        assert "job submit limit" in done.stderr
    return done.returncode == 0


def test_init_writes_what_the_cluster_says_and_doctor_agrees(hpcorch, as_alice, workspace):
    told = json.loads(hpcorch("init", "--json").stdout)
    assert told["resources"].items() >= {"scratch": 4, "matlab": 2, "gpu_a100": 8}.items()
    assert set(told["pools"]) == {"normal", "preempt", "cancelp", "urgent"}
    assert told["profile"] == str(workspace / ".hpcorch" / "site.yaml")
    assert f"{told['profile']} matches the cluster" in as_alice(["hpcorch", "doctor"]).stdout
    files = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert {path.name for path in files} == {"site.yaml", "config.yaml"}, "it is no git checkout"
    assert "left   .hpcorch/site.yaml" in hpcorch("init").stdout
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == files


def test_doctor_finds_what_the_cluster_does_not_have(hpcorch, workspace):
    profile = workspace / "site.yaml"
    profile.write_text(
        "resources:\n  scratch: {capacity: 5, enforced: license}\n"
        "  h100: {kind: gpu, gpu_type: h100, capacity: 1, enforced: system}\n"
        "pools:\n  a: {partition: nromal}\n  b: {account: physics}\n  c: {qos: huge}\n  d: {reservation: monday}\n"
    )
    profile.chmod(0o644)
    found = json.loads(hpcorch("doctor", "--profile", str(profile), "--json", code=1).stdout)["findings"]
    checks = [one["check"] for one in found if one["check"] != "file system"]  # that is the machine's
    assert checks == ["licenses", "gpus", "partitions", "accounts", "accounts", "reservations"]
    assert "normal?" in found[2]["cure"]


def test_the_limits_that_are_told_are_those_that_slurm_enforces(as_alice, narrow):
    plain, qos = limits(as_alice, {}, {"qos": "narrow"})
    assert (plain["max_submit"], plain["max_array_size"]) == (3, 1001)
    assert "the association of alice with lab" in plain["source"]
    assert (qos["max_submit"], qos["max_running"]) == (5, 2)
    assert submit(as_alice, 3)
    assert not submit(as_alice, 4)
    assert submit(as_alice, 5, "--qos=narrow"), "a QOS with a limit hides the association's, though that is lower"
    assert not submit(as_alice, 6, "--qos=narrow")


def test_without_any_limit_the_controllers_memory_is_left(as_alice):
    (found,) = limits(as_alice, {})
    assert (found["max_submit"], found["max_running"]) == (20000, None)
    assert "MaxJobCount" in found["source"]


def test_alternative_licences_are_taken_where_slurm_takes_them(lab, as_alice):
    ours = as_alice(["python", "-c", LICENSES, "scratch:2|matlab:1"])
    slurms = as_alice(["sbatch", "--test-only", "--licenses=scratch:2|matlab:1", "--wrap", "true"])
    assert (ours.returncode == 0) == (slurms.returncode == 0) == (lab.version >= (26, 5))
    if ours.returncode == 0:
        assert ours.stdout.strip() == "4"
    else:
        assert "from release 26.05 on" in ours.stderr
