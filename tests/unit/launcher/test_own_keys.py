"""Keys of the launcher that a swept group sets, or that depend on swept values, are those of its runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.errors import UsageError
from hpcorch.journal.manifest import ManifestHeader, ManifestRun
from hpcorch.launcher.config import register
from hpcorch.launcher.site import check_of_the_launch, settle_here
from hpcorch.model.keys.launch_keys import KEYS, OF_THE_LAUNCH, LaunchKeys
from hpcorch.model.states import Backend
from hpcorch.runtime.program.configuration import IS_HYDRA_1_3
from hpcorch.services.local.request import local_request
from tests.support.composing import Sweep, resolvers

EXPERIMENTS = {
    "small": "x: 10\nhydra: {launcher: {timeout_min: 3}}",
    "large": "x: 1000\nhydra: {launcher: {timeout_min: 30, mem_gb: 2, cpus_per_task: '${x}'}}",
    "usual": "x: 5",
    "same": "x: 5\nhydra: {launcher: {timeout_min: 60}}",
    "named": "hydra: {job: {name: other}}",
    "extra": "hydra: {launcher: {additional_parameters: {mail-type: END}}}",
    "here": "defaults: [{override /hydra/launcher: hpcorch_local}]",
    "again": "defaults: [{override /hydra/launcher: hpcorch_slurm}]",
}
CONFIG = "defaults: [{override hydra/launcher: hpcorch_slurm}, _self_]\nx: 1\n"
swept = pytest.mark.skipif(not IS_HYDRA_1_3, reason="Hydra 1.4 refuses what is swept to set the launcher's keys")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG)
    for name, text in EXPERIMENTS.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    register()
    with resolvers():
        yield tmp_path


@swept
@pytest.mark.parametrize(
    ("experiment", "own"),
    [
        ("small", {"timeout_min": 3}),
        ("large", {"timeout_min": 30, "mem_gb": 2, "cpus_per_task": 1000}),
        ("usual", {}),
        ("same", {}),
        ("named", {"name": "other"}),
        ("extra", {"additional_parameters": {"mail-type": "END"}}),
        ("again", {}),
    ],
)
@pytest.mark.parametrize("values", [[], ["x=7"], ["~x"]])
def test_what_a_swept_experiment_sets_is_the_runs_own(folder, experiment, own, values):
    if own.get("cpus_per_task"):
        if values == ["~x"]:
            return  # nothing to name
        own = {**own, "cpus_per_task": 7 if values else 1000}
    assert Sweep(folder).composer.compose([f"+experiment={experiment}", *values], 0).launcher == own


def test_the_command_line_wins_over_a_swept_experiment_and_is_no_runs_own(folder):
    sweep = Sweep(folder, ["hydra.launcher.timeout_min=9"])
    assert sweep.composer.compose(["+experiment=small"], 0).launcher == {}


@swept
def test_an_experiment_that_chooses_another_launcher_is_refused_with_a_sentence(folder):
    (folder / "config.yaml").write_text("defaults: [{experiment: again}, _self_]\n")
    with pytest.raises(UsageError) as refused:
        Sweep(folder).composer.compose(["experiment=here"], 0)
    assert str(refused.value) == (
        "experiment=here chooses hydra/launcher=hpcorch_local, but hpcorch_slurm launches all runs of this sweep:"
        " leave the override of hydra/launcher out of what is swept, or launch these runs by themselves with"
        " hydra/launcher=hpcorch_local"
    )
    chosen = Sweep(folder, ["hydra/launcher=hpcorch_slurm"]).composer.compose(["experiment=here"], 0)
    assert chosen.launcher == {}, "the command line has the last word"


def run(number: int, **launcher: object) -> ManifestRun:
    return ManifestRun(
        run=number, base=0, overrides=["+experiment=a"], params={}, changes={}, config_digest="", seed=0,
        seed_source="derived", directory="/d", node={}, launcher=launcher,
    )  # fmt: skip


def test_a_key_of_the_whole_launch_cannot_be_a_runs_own():
    assert KEYS.keys() >= OF_THE_LAUNCH
    with pytest.raises(
        UsageError, match=r"detach holds for the whole launch, but run 1 \(\+experiment=a\) sets it"
    ):
        check_of_the_launch(LaunchKeys(), [run(0), run(1, detach=True)])
    check_of_the_launch(LaunchKeys(detach=True), [run(0, detach=True, timeout_min=3), run(1)])


def test_on_one_machine_each_run_has_its_own_time_limit_and_share(monkeypatch):
    monkeypatch.setattr("hpcorch.services.local.request.cpu_count", lambda: 4)
    keys = LaunchKeys(timeout_min=0)
    settled = settle_here(keys, [run(0), run(1, timeout_min=2, cpus_per_task=3), run(2, timeout_min=0)])
    assert [one.launcher for one in settled.runs] == [{}, {"timeout_min": 2, "cpus_per_task": 3}, {}]
    request = local_request(keys, sweep="s", launch=0, runs=[0, 1, 2], asked=settled.asked)
    assert (request.slots, request.cpus, list(request.own)) == (4, 4, [1])
    assert [(request.terms_of(n).cpus, request.terms_of(n).timeout_s) for n in (0, 1)] == [(1, None), (3, 120.0)]
    with pytest.raises(UsageError, match="one task a run"):
        local_request(keys, sweep="s", launch=0, runs=[0], asked={0: keys.changed({"nodes": 2})})


def test_what_a_job_reads_of_the_header_is_the_runs_own():
    header = ManifestHeader(
        sweep="s", launch=0, count=2, backend=Backend.LOCAL, job_name="", project="", cwd="", python="",
        task_digest="", compact=True, leases={"disk": {"capacity": 9, "count": 1}},
    )  # fmt: skip
    assert header.of(run(0, timeout_min=3)) == header
    own = header.of(run(1, max_num_timeout=4, resources={"disk": 2}, compact=False))
    assert (own.max_num_timeout, own.compact, own.leases["disk"]) == (4, False, {"capacity": 9, "count": 2})
