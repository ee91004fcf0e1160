"""Each form of an override, on each kind of node, gives what Hydra's own composition gives, its errors included."""

from __future__ import annotations

import itertools
import os
import random

import pytest

from tests.support.composing import Sweep, resolvers
from tests.support.composing_equality import assert_composed_as_by_hydra

# Hydra itself takes most of the time, so here a part of the forms is tried; `scripts/test all` tries all.
PARTS = max(1, 104 // int(os.environ.get("HPCORCH_EXAMPLES", "4")))
NODES = [
    *("seed", "lr", "text", "required", "nothing", "escaped", "stamp", "anything", "new", "new.x.y", "seed.below"),
    *("tags", "tags.0", "tags.7", "layers", "layers.1", "layers.1.size"),
    *("nested", "nested.a.b", "nested.a.b.d", "nested.new", "numbers", "numbers.1"),
    *("model", "model.depth", "model.pooling", "optim.lr", "sink", "sink.size"),
    *("typed", "typed.color", "typed.count", "typed.ratio", "typed.maybe", "typed.where", "typed.new"),
    *(
        "typed.parts",
        "typed.parts.one",
        "typed.parts.one.label",
        "typed.parts.two",
        "typed.by_color",
        "typed.sizes",
    ),
]
VALUES = [
    *("3", "2.5", "true", "null", "word", "'a b'", "???", "[]", "[1,x]", "{}", "{k:1}", "{size:2}", "RED"),
    *("${seed}", "'${seed}-x'", "'${test.join:a,${seed}}'", "${nested.a}", "'\\${seed}'"),
]
OPERATORS = ["{node}={value}", "+{node}={value}", "++{node}={value}", "~{node}={value}"]
SPELLINGS = [
    *("", "0", "-1", "+1", "1_000", "007", "1e3", "1.", ".5", "-0.0", "inf", "-inf", "nan", "NaN", "True", "FALSE"),
    *(
        "NULL",
        "None",
        "a/b",
        "a:b",
        "a=b",
        "a-b.c",
        "@x",
        "$x",
        "x%y",
        "*",
        "a b",
        "ünï",
        "日本",
        "x\\,y",
        "\\[x\\]",
    ),
    *(
        "''",
        '""',
        "' '",
        "'it\\'s'",
        '"say \\"so\\""',
        "'a,b'",
        "'[1]'",
        "'null'",
        "'1'",
        "'\\\\'",
        "'a\nb'",
        "'\t'",
    ),
    *(
        "[1,[2,[3]]]",
        "['a',b]",
        "[null,true]",
        "[{a:1},{b:[2]}]",
        "{a:{b:{c:1}}}",
        "{a:1,b:'x y'}",
        "{1:x}",
        "{a b:1}",
    ),
    *("int(3.7)", "str(3)", "float(1)", "bool(0)", "json_str({a:1})", "str([1,2])", "int([1.5,2.5])", "cast(1)"),
    *("1,2", "choice(1,2)", "range(3)", "interval(0,1)", "glob(*)", "extend_list(c)", "extend_list(c,[d],{e:1})"),
    *(
        "${",
        "${}",
        "${missing}",
        "${oc.env:COMPOSE_TEST_USER,me}",
        "${now:%Y}",
        "${hydra:job.num}",
        "${hydra.job.id}",
    ),
    *(
        "'${seed}${seed}'",
        "'$ {seed}'",
        "'\\\\${seed}'",
        "${test.count:}",
        "[${seed},'${lr}']",
        "{a:${seed}}",
        "(",
        "]",
        "}",
    ),
]
SPELT_ON = ["seed={}", "+new={}", "++anything={}", "tags={}", "typed.stamp={}", "~text={}"]
KEYS = [
    *(
        "",
        "=",
        "=1",
        "+",
        "++",
        "~",
        "~~seed",
        "+++seed=1",
        "seed",
        "+new",
        "~seed",
        "~nested.a",
        "~missing",
        "~model",
    ),
    *(
        "seed.=1",
        ".seed=1",
        "nested..a=1",
        "nested[a]=1",
        "layers[0]=1",
        "layers[0].size=3",
        "[seed]=1",
        "'seed'=1",
    ),
    *("dotted.key=1", '"dotted.key"=1', "a-b=1", "+a-b=1", "+a.b-c.d=1", "+1=2", "numbers.9=1", "+numbers.9=1"),
    *("model@=cnn", "model@x=cnn", "+model@x=cnn", "db@source=big", "db@source.x=big", "~db@sink", "~db@sink=big"),
    *(
        "model=[mlp,cnn]",
        "model=null",
        "~model=mlp",
        "~model=cnn",
        "++model=cnn",
        "model={depth:1}",
        "model=unknown",
    ),
    *("unknown=1", "unknown/group=1", "unknown@package=1", "extra=globals", "+extra=globals", "optim=adam"),
    *(
        "hydra.job.name=x",
        "hydra.verbose=true",
        "+hydra.new=1",
        "~hydra.job.name",
        "hydra={verbose:true}",
        "hydra=1",
    ),
    *(
        "hydra.sweep.subdir=x",
        "hydra/job_logging=none",
        "hydra.searchpath=[]",
        "hydra[verbose]=true",
        "hydra.mode=RUN",
    ),
]


def forms() -> list[str]:
    made = [
        form.format(node=node, value=value) for node, form, value in itertools.product(NODES, OPERATORS, VALUES)
    ]
    made += [form.format(value) for form, value in itertools.product(SPELT_ON, SPELLINGS)]
    return [*made, *(f"~{node}" for node in NODES), *KEYS]


@pytest.fixture(scope="module")
def sweep():
    with resolvers():
        yield Sweep()


@pytest.mark.parametrize("beside", ["alone", "with others"])
def test_each_form_of_an_override_is_composed_or_refused_as_by_hydra(sweep, beside):
    draw = random.Random(beside)
    every = forms()
    draw.shuffle(every)
    part = every[:: PARTS * (1 if beside == "alone" else 2)]
    for form in part:
        others = [] if beside == "alone" else draw.sample(every, draw.randint(1, 3))
        overrides = [form, *others]
        draw.shuffle(overrides)
        assert_composed_as_by_hydra(sweep, overrides)
