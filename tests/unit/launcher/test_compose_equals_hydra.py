"""The fast composition gives what Hydra's own gives, whatever the overrides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hpcorch.launcher.composing.compose import ComposerLoader
from hpcorch.model.values import patched
from tests.support.composing import Sweep, anatomy, rebuilt, resolvers
from tests.support.composing_equality import assert_composed_as_by_hydra, outcome

# Hydra itself takes most of the time; `scripts/test all` asks for more.
EXAMPLES = int(os.environ.get("HPCORCH_EXAMPLES", "8"))
GROUPS = [
    "model=mlp",
    "model=cnn",
    "optim=sgd",
    "optim=adam",
    "db@source=big",
    "db@sink=small",
    "+db@third=small",
    "+db@nested.a.db=big",
    "~db@sink",
    "~optim",
    "+model@nested.extra=cnn",
    "extra=globals",
    "db@source=[big,small]",
]
VALUES = [
    "seed=2",
    "seed='2'",
    "seed=null",
    "seed=${optim.lr}",
    "++seed=5",
    "name=plain",
    "name='${seed}-${model.name}'",
    "name='it\\'s; $(rm -rf) `x`'",
    'text="ünïcode, \\n \t tab"',
    "text='two\nlines'",
    "text='\\${seed}'",
    "lr=1e-3",
    "lr=nan",
    "lr=-inf",
    "optim.lr=0.5",
    "optim.lr='${seed}'",
    "optim.momentum=0.8",
    "~optim.momentum",
    "~optim.momentum=0.9",
    "~optim.lr",
    "+optim.nesterov=true",
    "+optim.nesterov=false",
    "+optim.lr=4",
    "++optim.lr=4",
    "optim={lr:7,momentum:8}",
    "+optim={extra:'${seed}'}",
    "model.depth=9",
    "model.width=9",
    "+model.width=9",
    "~model.width",
    "model.kernel=[5,5,'${seed}']",
    "model.kernel.0=7",
    "~model.kernel.0",
    "model.pooling={kind:avg}",
    "model.pooling.size=3",
    "~model.pooling",
    "~model",
    "tags=[]",
    "tags=[x,'y,z',[1,2],{k:v}]",
    "+tags=[c]",
    "layers.0.size=11",
    "layers.1.size=12",
    "layers=[{size:1}]",
    "nested.a.b.c=3",
    "nested.a.b={c:5}",
    "nested.a.b.d=4",
    "~nested.a.b",
    "~nested",
    "+nested.f.g.h=1",
    "+nested.f.g.i=2",
    "+nested.a={new:{deep:1}}",
    "++nested.a.b.c.under=1",
    "+new=${now:%Y}",
    "+new=1",
    "+new={x:1,y:[2]}",
    "+new.x=1",
    "+new.y='${test.join:${seed},z}'",
    "~new",
    "chosen.more=1",
    "+chosen.more=1",
    "required=given",
    "required.part=given",
    "nothing.below=1",
    "+nothing.below=1",
    "numbers={1:eins}",
    "+numbers.3=three",
    "numbers.1=uno",
    "typed.color=BLUE",
    "typed.color=green",
    "typed.count=4",
    "typed.count=four",
    "typed.count='${seed}'",
    "typed.ratio=text",
    "typed.ratio=8",
    "typed.ratio=[1]",
    "typed.maybe=1.5",
    "typed.maybe=null",
    "typed.where=/elsewhere",
    "typed.where='${oc.env:COMPOSE_TEST_USER,nobody}'",
    "typed.stamp=never",
    "typed.parts.one.size=3",
    "typed.parts.one.label=l",
    "+typed.parts.two.size=3",
    "~typed.parts.one",
    "typed.by_color.RED=9",
    "+typed.by_color={BLUE:1}",
    "typed.sizes=[3]",
    "typed.sizes.0=9",
    "typed.unknown=1",
    "+typed.unknown=1",
    "anything={a:{b:1}}",
    "+anything.a=1",
    "unknown=1",
    "db@other=5",
    "source.size=8",
    "sink={size:9}",
    "scratch=${oc.env:SLURM_TMPDIR,x}",
    "stamp='${now:%m}-${hydra:job.id}-${seed}'",
    "drawn='${test.count:}'",
    "foo/bar=1",
    "seed=1,2",
    "seed=",
    "seed",
    "a b",
]
HYDRA = [
    "hydra.verbose=true",
    "+hydra.job.env_set.A=b",
    "hydra.job.config.override_dirname.item_sep=+",
    "hydra.sweep.subdir=x${hydra.job.num}",
    "hydra/job_logging=disabled",
    "hydra={verbose:true}",
]


def quoted(text: str, quote: Quote) -> str:
    return QuotedString(text=text, quote=quote).with_quotes()


def texts() -> st.SearchStrategy[str]:
    """A string of any characters, as a sweeper would quote it."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.builds(quoted, st.text(characters, max_size=12), st.sampled_from(Quote))


def lines() -> st.SearchStrategy[str]:
    keys = st.sampled_from(
        ["seed", "name", "text", "+new", "++optim.lr", "typed.stamp", "anything", "+model.extra"]
    )
    plain = st.one_of(st.integers().map(str), st.floats().map(str), st.booleans().map(str), texts())
    value = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"))
    return st.builds("{}={}".format, keys, value)


def runs() -> st.SearchStrategy[list[str]]:
    one = st.one_of(*[st.sampled_from(VALUES)] * 4, st.sampled_from(GROUPS), lines(), st.sampled_from(HYDRA))
    return st.lists(one, max_size=5)


@pytest.fixture(scope="module")
def sweep():
    with resolvers():
        yield Sweep()


@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides=runs())
@example(overrides=["model=cnn", "model.pooling.size=3", "model.pooling={kind:avg}", "seed=4"])
@example(overrides=["+new.x=1", "+new.y='${test.join:${seed},z}'"])
@example(overrides=["~optim.lr", "+optim.lr=4", "optim.lr=5"])
@example(overrides=["~optim.momentum", "model.width=9", "~optim.lr", "+optim.last=1"])
@example(overrides=["hydra.verbose=true", "seed=3"])
@example(overrides=["seed=3", "hydra.verbose=true"])
def test_composed_and_rebuilt_run_equals_hydras_own(sweep, overrides):
    assert_composed_as_by_hydra(sweep, overrides)


@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides=runs())
@example(overrides=["model=cnn", "model.pooling.size=3", "seed=4"])
@example(overrides=["+new.x=1", "+new.y='${test.join:${seed},z}'"])
def test_what_a_sweeper_validates_equals_hydras_own(sweep, overrides):
    expected, refusal = outcome(sweep.loader.load_sweep_config, sweep.master, overrides)
    found, error = outcome(
        ComposerLoader(sweep.loader, sweep.composer, sweep.master).load_sweep_config, sweep.master, overrides
    )
    assert (type(error), str(error)) == (type(refusal), str(refusal))
    if found is not None:
        assert anatomy(found) == anatomy(expected)
        assert OmegaConf.get_cache(found) == OmegaConf.get_cache(expected)


@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides=runs())
@example(overrides=["nothing=1"])
@example(overrides=["seed=text"])
@example(overrides=["+seed=1"])
@example(overrides=["typed.color=NONE", "seed=2"])
def test_what_a_sweeper_refuses_is_what_hydra_refuses(sweep, overrides):
    _, refusal = outcome(sweep.loader.load_sweep_config, sweep.master, overrides)
    _, error = outcome(sweep.checker().validate_batch_is_legal, [overrides])
    assert (type(error), str(error)) == (type(refusal), str(refusal))


@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30))
def test_odd_text_reaches_the_task_byte_for_byte(sweep, text):
    literal = text.replace("${", "$ {")
    run = sweep.composer.compose([f"text={quoted(literal, Quote.single)}", "seed=3"], 4)
    assert rebuilt(run).text == literal
    assert patched(run.base.config, run.changes)["text"] == literal
    assert run.params == {"text": literal, "seed": 3}


def test_structured_values_keep_their_types(sweep):
    run = sweep.composer.compose(["typed.color=BLUE", "typed.where=/elsewhere", "typed.parts.one.size=3"], 4)
    typed = OmegaConf.to_object(rebuilt(run).typed)
    assert type(typed).__name__ == "Typed"
    assert (typed.color.name, typed.color.value) == ("BLUE", 2)
    assert typed.where == Path("/elsewhere")
    assert typed.parts["one"].size == 3
