"""What is composed is what is recorded is what runs, value and type, whatever a value replaces."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from hpcorch.launcher.composing import compose
from hpcorch.launcher.composing.composition import Planner
from hpcorch.model.values import from_plain, patched, same
from hpcorch.runtime.program.configuration import digest, raw, register_resolver, task_plain
from tests.support.composing import Sweep, anatomy, rebuilt, resolvers

SCALARS = [
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 0.1, 1e-7, 1e22, 10**22, math.nan, math.inf, -math.inf),
    *(2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400),
    *("", "1", "1.0", "true", "null", "nan", "text", "$float"),
]
CONTAINERS = [
    *([], [1], [1.0], [True], ["1"], [0.0], [-0.0], [math.nan], [None], [[1]], [{"a": 1}]),
    *({}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": None}, {"b": 1}, {"a": {"a": 0}}, {"a": {"a": False}}),
    *({1: "x"}, {"$float": "nan"}, {"a": [1, math.inf]}, {"a": [1.0, math.inf]}),
]
VALUES = [*SCALARS, *CONTAINERS]


def override(value: Any) -> str:
    """A value as Hydra's grammar has it."""
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list):
        return f"[{','.join(map(override, value))}]"
    if isinstance(value, dict):
        spelt = (f"{key if key != '$float' else chr(92) + key}:{override(item)}" for key, item in value.items())
        return "{" + ",".join(spelt) + "}"
    for word, meant in (("null", None), ("true", True), ("false", False)):
        if value is meant:
            return word
    return repr(value)


def typed(value: Any) -> Any:
    """A value such that two are equal only if all types in them are."""
    if isinstance(value, dict):
        return sorted(((type(key).__name__, str(key), typed(item)) for key, item in value.items()), key=repr)
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, repr(value)


def merges(value: Any, other: Any) -> bool:
    """Whether Hydra takes one in place of the other: no list for a mapping, nor the reverse."""
    if isinstance(value, dict) and isinstance(other, dict):
        return all(merges(item, other[key]) for key, item in value.items() if key in other)
    return {type(value), type(other)} != {list, dict}


@pytest.fixture(autouse=True)
def _registered():
    with resolvers():
        yield


@pytest.fixture
def own_resolvers():
    """``test.value`` gives a value by its number until the list is cleared; ``test.seen`` shows its argument."""
    values = list(VALUES)
    register_resolver("test.value", lambda n: values[n])
    register_resolver("test.seen", lambda value, job: f"{type(value).__name__} {value!r} {job}")
    yield values
    OmegaConf.clear_resolver("test.value")
    OmegaConf.clear_resolver("test.seen")


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    """A folder whose configuration has each value once."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "config.yaml").write_text(yaml.safe_dump({f"k{n}": value for n, value in enumerate(VALUES)}))
    return folder


@pytest.mark.parametrize("way", ["fast", "hydra's own"])
def test_each_value_in_place_of_each_other_is_composed_recorded_and_run_as_hydra_has_it(
    configuration, monkeypatch, way
):
    if way != "fast":
        monkeypatch.setattr(compose, "SHORTCUTS_PROVEN", False)
    sweep = Sweep(configuration)
    configured = {f"k{n}": value for n, value in enumerate(VALUES)}
    for value in VALUES if way == "fast" else VALUES[::3]:  # the other way is Hydra's own, and slow
        adding = "++" if isinstance(value, dict) else ""
        overrides = [f"{adding}{key}={override(value)}" for key in configured if merges(value, configured[key])]
        reference = sweep.reference(overrides)
        run = sweep.composer.compose(overrides, 4)
        runs = rebuilt(run)
        for key in configured:
            assert anatomy(raw(runs)[key]) == anatomy(raw(reference)[key]), (key, value)
        recorded = patched(*json.loads(json.dumps([run.base.config, run.changes], allow_nan=False)))
        expected = {key: OmegaConf.to_container(reference)[key] for key in configured}
        assert typed(from_plain(recorded)) == typed(expected), value
        assert digest(task_plain(runs)) == run.config_digest, value


def test_each_value_that_a_resolver_gives_is_recorded_and_run_as_it_was_given(tmp_path, own_resolvers):
    texts = {f"k{n}": f"${{test.value:{n}}}" for n in range(len(VALUES))}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(texts))
    run = Sweep(tmp_path).composer.compose([], 4)
    changes = json.loads(json.dumps(run.changes, allow_nan=False))
    own_resolvers.clear()  # the job does not draw them again
    for n, value in enumerate(VALUES):
        if value == {1: "x"}:
            continue  # what has keys that are no text is resolved in the job
        assert typed(from_plain(changes[f"k{n}"])) == typed(value)
        assert typed(OmegaConf.to_container(rebuilt(run))[f"k{n}"]) == typed(value)


def test_each_scalar_that_goes_into_a_call_which_only_the_job_can_make_keeps_its_type(tmp_path, own_resolvers):
    scalars = {f"k{n}": value for n, value in enumerate(SCALARS) if value != "$float"}
    texts = {f"k{n}": f"${{test.seen:${{test.value:{n}}},${{hydra.job.id}}}}" for n in range(len(SCALARS) - 1)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(texts))
    runs = rebuilt(Sweep(tmp_path).composer.compose([], 4))
    own_resolvers.clear()
    for key, value in scalars.items():
        assert runs[key] == f"{type(value).__name__} {value!r} 77_4"


def test_an_integer_of_any_size_is_a_seed_and_of_64_bits_it_is_the_seed_itself():
    sweep = Sweep()

    def seed_of(configured: int) -> int:
        (run,) = Planner(root_seed=1, cwd=Path.cwd()).plan([sweep.composer.compose([f"seed={configured}"], 0)])
        assert run.seed_source == "config"
        return run.seed

    small = [7, -1, 2**63 - 1, -(2**63)]
    assert [seed_of(seed) for seed in small] == small
    large = [seed_of(seed) for seed in (2**63, 10**400, 10**401, -(10**400))]
    assert len(set(large)) == 4
    assert all(0 <= seed < 2**32 for seed in large)
    assert seed_of(10**400) == large[1]


@dataclass
class Declared:
    rate: float = 1.0
    name: str = ""
    where: Path = Path("/")
    maybe: float | None = None


@pytest.mark.parametrize("way", ["fast", "hydra's own"])
def test_a_parameter_is_recorded_as_its_declared_type_has_made_it(tmp_path, monkeypatch, way):
    if way != "fast":
        monkeypatch.setattr(compose, "SHORTCUTS_PROVEN", False)
    monkeypatch.setattr(ConfigStore.instance(), "repo", dict(ConfigStore.instance().repo))
    ConfigStore.instance().store("typed_values", {"typed": Declared})
    (tmp_path / "config.yaml").write_text(
        "defaults: [typed_values, _self_]\nfree: 1.0\nitems: [1, 2]\nmap: {a: 1, b: 2}\n"
    )
    overrides = ["typed.rate=3", "typed.name=1", "typed.where=/data", "typed.maybe=inf", "free=1", "map={a:1.0}"]
    run = Sweep(tmp_path).composer.compose(overrides, 0)
    assert same(
        {key: from_plain(value) for key, value in run.params.items()},
        {
            "typed.rate": 3.0,
            "typed.name": "1",
            "typed.where": Path("/data"),
            "typed.maybe": math.inf,
            "free": 1,
            "map": {"a": 1.0},
        },
    )
