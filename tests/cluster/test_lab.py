"""The cluster that the other tests here rely on behaves like one: accounting, GPUs, licences, preemption."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.waiting import wait_until

# Each task writes when it began and ended, where, and on which GPUs. The first ones wait until as many have begun
# as may run at once.
_SPAN = """
begin=$(date +%s.%N); touch begun-$SLURM_ARRAY_TASK_ID
until [ $(ls begun-* | wc -l) -ge $AT_ONCE ]; do sleep 0.1; done
sleep 1.5; end=$(date +%s.%N)
echo "$begin $end $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >span-$SLURM_ARRAY_TASK_ID
"""


@pytest.fixture
def spans(as_alice, workspace):
    """Submit a six-task array with the options given, and return each task's (begin, end, node, gpu)."""

    def rows() -> list[list[str]]:
        lines = [path.read_text() for path in sorted(workspace.glob("span-*"))]
        return [line[:-1].split(" ") for line in lines if line.endswith("\n")]

    def run(at_once: int, *options: str) -> list[tuple[float, float, str, str]]:
        as_alice.output(["sbatch", "--array=0-5", *options, "--wrap", _SPAN], env={"AT_ONCE": str(at_once)})
        wait_until(lambda: len(rows()) == 6)
        return [(float(begin), float(end), node, gpu) for begin, end, node, gpu in rows()]

    return run


def most_at_once(spans: list[tuple[float, float, str, str]]) -> int:
    """How many of the spans overlapped at the worst moment."""
    return max(sum(begin <= moment < end for begin, end, *_ in spans) for moment, *_ in spans)


def test_job_of_an_ordinary_user_runs_and_is_accounted(as_alice, workspace):
    job = as_alice.output(
        ["sbatch", "--parsable", "--wait", "-o", "log", "--wrap", "id -un; python -c 'import hpcorch'"]
    )
    assert (workspace / "log").read_text() == "alice\n"
    state = ["sacct", "-n", "-X", "-P", "-j", job, "-o", "User,Account,State,ExitCode"]
    wait_until(lambda: as_alice.output(state) == "alice|lab|COMPLETED|0:0")


def test_no_more_tasks_run_at_once_than_there_are_licences(spans):
    assert most_at_once(spans(4, "--licenses=scratch:1")) == 4


def test_tasks_on_one_node_never_share_a_gpu(spans):
    seen = spans(2, "--gres=gpu:a100:1", "--nodelist=n1")
    assert most_at_once(seen) == 2
    assert Counter(node for _, _, node, _ in seen) == {"n1": 6}
    for gpu in ("0", "1"):
        assert most_at_once([span for span in seen if span[3] == gpu]) == 1


def test_unknown_licence_is_rejected(as_alice):
    rejected = as_alice(["sbatch", "--licenses=tape:1", "--wrap", "true"])
    assert rejected.returncode == 1
    assert "Invalid license specification" in rejected.stderr


def test_preemptible_job_is_requeued_when_urgent_work_needs_its_nodes(as_alice, workspace):
    starts, seen_by_urgent = workspace / "starts", workspace / "seen-by-urgent"
    fill = ["--nodes=4", "--exclusive", "--parsable"]
    noted = "echo ${SLURM_RESTART_COUNT:-0} >>starts; exec sleep 300"
    victim = as_alice.output(["sbatch", "-p", "preempt", *fill, "--wrap", noted])
    wait_until(lambda: starts.exists() and starts.read_text() == "0\n")
    as_alice.output(["sbatch", "-p", "urgent", *fill, "--wrap", f"cp {starts.name} {seen_by_urgent.name}"])
    wait_until(lambda: starts.read_text() == "0\n1\n")
    assert seen_by_urgent.read_text() == "0\n"
    assert as_alice.output(["squeue", "-h", "-j", victim, "-o", "%T"]) == "RUNNING"
