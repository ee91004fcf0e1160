"""A value that is set for a rerun does what it would have done at the launch, or is refused in a sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hpcorch.errors import HpcorchError, UsageError
from hpcorch.journal.manifest import FrozenRun, ManifestHeader
from hpcorch.launcher.composing.composition import Planner, manifest_bases
from hpcorch.model.states import Backend
from hpcorch.model.values import digest, patched, same
from hpcorch.runtime.program.call import frozen_config
from hpcorch.runtime.program.configuration import register_resolver, task_plain
from hpcorch.services.rerun.overrides import changed_run, read_changes
from tests.support.composing import Sweep, resolvers
from tests.unit.launcher.test_compose_equals_hydra import VALUES

EXAMPLES = int(os.environ.get("HPCORCH_EXAMPLES", "25"))
HEADER = ManifestHeader(
    sweep="s",
    launch=0,
    count=1,
    backend=Backend.LOCAL,
    job_name="job",
    project="/p",
    cwd="/p",
    python="python",
    task_digest=digest(b""),
)


@pytest.fixture(scope="module")
def sweep():
    with resolvers():
        # What is drawn anew at each launch would differ without a fault.
        register_resolver("test.count", lambda: 5, replace=True)
        register_resolver("test.count_cached", lambda _: 6, replace=True)
        yield Sweep()


def launched(sweep: Sweep, overrides: Sequence[str]) -> FrozenRun:
    composition = sweep.composer.compose(overrides, 4)
    (run,) = Planner(root_seed=1, cwd=Path("/p")).plan([composition])
    (base,) = manifest_bases(sweep.composer.bases, [run])
    return FrozenRun(header=HEADER, base=base, run=run)


def rerun(frozen: FrozenRun, words: list[str]) -> FrozenRun:
    run = changed_run(frozen, read_changes(words).overrides, root_seed=1)
    return FrozenRun(header=frozen.header, base=frozen.base, run=run)


def attempted(make, *arguments):
    try:
        return make(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever Hydra raises for overrides that do not fit
        return error


def composed(frozen: FrozenRun) -> dict[str, Any]:
    """What a job would run with; its digest is compared on the way."""
    return task_plain(frozen_config(frozen, job_id="1"))


ONE = st.sampled_from(VALUES)


@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(before=st.lists(ONE, max_size=2), after=st.lists(ONE, min_size=1, max_size=2))
@example(before=["optim.lr=0.5"], after=["optim.lr=1"])
@example(before=["+new=1"], after=["new=2"])
@example(before=["~optim.lr"], after=["+optim.lr=4"])
@example(before=[], after=["typed.ratio=8"])
@example(before=["seed=2"], after=["seed=3"])
def test_a_changed_run_is_the_one_that_would_have_been_launched_or_is_refused(sweep, before, after):
    frozen = attempted(launched, sweep, before)
    if isinstance(frozen, Exception):
        return
    again = attempted(rerun, frozen, after)
    if isinstance(again, Exception):
        assert isinstance(again, HpcorchError), again
        return
    expected = launched(sweep, again.run.overrides)
    assert same(composed(again), composed(expected))
    assert again.run.config_digest == expected.run.config_digest
    assert same(*(patched(one.base.config, one.run.changes) for one in (again, expected)))
    assert again.run.seed == (expected.run.seed if expected.run.seed_source == "config" else frozen.run.seed)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("optim.lrr=1", "did you mean optim.lr?"),
        ("mem_gb=4", "a key of the launcher is hydra.launcher.mem_gb"),
        ("model=cnn", "chooses another configuration file"),
        ("+extra=globals", "chooses another configuration file"),
        ("+db@third=small", "chooses another configuration file"),
        ("seed=2", "drawn_again, note of run 4"),
        ("stamp='${now:%m}'", "calls the resolver now"),
        ("typed.count=four", "cannot be applied to run 4"),
    ],
)
def test_what_a_rerun_cannot_change_is_refused_with_the_cause(sweep, word, told):
    frozen = launched(sweep, [])
    with pytest.raises(UsageError) as refused:
        rerun(frozen, [word])
    assert told in str(refused.value)
