"""Hydra composes once per combination of groups, not once per run, where that is shown to be equal."""

from __future__ import annotations

import itertools

import pytest

from hpcorch.launcher.composing import compose, scratch
from hpcorch.runtime.program.configuration import SHORTCUTS_PROVEN
from tests.support.composing import Sweep, rebuilt, resolvers

shared = pytest.mark.skipif(not SHORTCUTS_PROVEN, reason="with this Hydra every run is composed in full")


@pytest.fixture
def sweep():
    with resolvers():
        yield Sweep()


@shared
def test_sweep_over_values_is_composed_by_hydra_once(sweep):
    runs = [sweep.composer.compose([f"seed={i}", f"optim.lr={i / 10}", "+new.x=1", "~tags"], i) for i in range(30)]
    assert sweep.compositions == len(sweep.composer.bases) == 1
    assert len({run.config_digest for run in runs}) == 30
    assert rebuilt(runs[7]).optim.lr == 0.7


@shared
def test_thousand_runs_need_one_composition_for_each_combination_of_groups(sweep):
    groups = itertools.product(["model=mlp", "model=cnn"], ["optim=sgd", "optim=adam"])
    grid = itertools.product(groups, range(25), ["0.1", "0.2", "0.3", "1e-2", "1"], ["a", "b"])
    runs = [
        sweep.composer.compose([*choice, f"seed={seed}", f"optim.lr={lr}", f"name={name}"], index)
        for index, (choice, seed, lr, name) in enumerate(grid)
    ]
    assert len(runs) == 1000
    assert sweep.compositions == 4
    assert sorted({run.base.number for run in runs}) == [0, 1, 2, 3]
    assert len({run.output_dir for run in runs}) == 1000


@shared
def test_order_of_groups_and_values_does_not_cost_a_composition(sweep):
    one = sweep.composer.compose(["seed=2", "model=cnn"], 0)
    other = sweep.composer.compose(["model=cnn", "seed=2"], 0)
    assert sweep.compositions == 1
    assert one.task_overrides != other.task_overrides
    assert one.base is other.base


@shared
def test_a_sweepers_check_of_thousand_runs_makes_no_configuration_for_any(sweep, monkeypatch):
    monkeypatch.setattr(scratch, "rebuild", None)
    grid = itertools.product(["model=mlp", "model=cnn"], range(50), ["0.1", "0.2"], ["a", "b"])
    runs = [[model, f"seed={seed}", f"optim.lr={lr}", f"name={name}"] for model, seed, lr, name in grid]
    sweep.checker().validate_batch_is_legal(runs)
    assert sweep.compositions == 2


def test_override_that_meets_an_interpolation_is_composed_in_full(sweep):
    run = sweep.composer.compose(["~model.width", "seed=3"], 0)
    assert (run.overrides, run.changes.get("seed")) == ((), None)
    assert run.base.overrides == ("~model.width", "seed=3")
    assert rebuilt(run).seed == 3


def test_every_run_is_composed_in_full_with_a_hydra_that_nothing_is_shown_for(monkeypatch, sweep):
    monkeypatch.setattr(compose, "SHORTCUTS_PROVEN", False)
    composer = compose.Composer(sweep.loader, sweep.master)
    runs = [composer.compose(["model=cnn", f"seed={i}"], i) for i in range(3)]
    assert sweep.compositions == len(composer.bases) == 3
    assert composer.load(["seed=1"]) is None
    assert [rebuilt(run).seed for run in runs] == [0, 1, 2]
