"""What ``hydra/sweeper=hpcorch`` makes of a command line and of its keys."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.errors import UsageError
from hpcorch.launcher.sweeping.choices import choice, spelt
from hpcorch.launcher.sweeping.expansion import Expansion, expand
from hpcorch.launcher.sweeping.runs_file import rows
from hpcorch.launcher.sweeping.sweep_keys import SweepKeys
from hpcorch.model.values import same

PARSER = OverridesParser.create()


def expanded(*typed: str, cwd: Path = Path(), **keys: Any) -> Expansion:
    return expand(PARSER.parse_overrides(list(typed)), SweepKeys.parse(keys), PARSER, cwd)


def runs(*typed: str, cwd: Path = Path(), **keys: Any) -> list[str]:
    return [" ".join(run) for run in expanded(*typed, cwd=cwd, **keys).runs]


def refusal(*typed: str, cwd: Path = Path(), **keys: Any) -> str:
    with pytest.raises(UsageError) as refused:
        expanded(*typed, cwd=cwd, **keys)
    return str(refused.value)


@pytest.mark.parametrize(
    "typed",
    [
        ["a=1,2", "b=x,y,z", "c=5"],
        ["a=range(3)", "b=choice(1,[2,3],{k:v})", "+c='a,b',\"d\"", "~e", "f="],
        ["a=1,2", "b=x", "a=3,4"],
        ["a@p=x,y", "+g/h=u", "++i.j=null,true"],
        ["~a", "+a=1,2", "a='${b}',${c}"],
        [],
    ],
)
def test_without_keys_the_runs_are_those_of_hydras_basic_sweeper(typed):
    (theirs,) = BasicSweeper.split_arguments(PARSER.parse_overrides(typed), None)
    assert [list(run) for run in expanded(*typed).runs] == theirs


def test_zipped_keys_change_together_and_with_each_of_the_others():
    found = runs("lr=1,2", "seed=7,8", "decay=3,4", zip=["lr", "decay"])
    assert found == ["lr=1 decay=3 seed=7", "lr=1 decay=3 seed=8", "lr=2 decay=4 seed=7", "lr=2 decay=4 seed=8"]
    two = runs("a=1,2", "b=1,2", "+c=1,2", "d=1,2", zip=[["a", "b"], ["c", "d"]])
    assert two == ["a=1 b=1 +c=1 d=1", "a=1 b=1 +c=2 d=2", "a=2 b=2 +c=1 d=1", "a=2 b=2 +c=2 d=2"]


def test_grids_follow_each_other_each_with_all_that_is_typed():
    grids = [{"model": "cnn", "lr": "0.1,0.2"}, {"model": "mlp,vit", "depth": 3, "sizes": [1, 2]}]
    assert runs("seed=1,2", grids=grids) == [
        *(
            "model=cnn lr=0.1 seed=1",
            "model=cnn lr=0.1 seed=2",
            "model=cnn lr=0.2 seed=1",
            "model=cnn lr=0.2 seed=2",
        ),
        *(f"model={m} depth=3 sizes=[1,2] seed={s}" for m in ("mlp", "vit") for s in (1, 2)),
    ]
    assert runs(grids=[{"a": "1,2", "b": "3,4"}, {"a": 5}], zip=["a", "b"]) == ["a=1 b=3", "a=2 b=4", "a=5"]


def test_what_a_grid_says_is_left_to_the_runs():
    assert runs("b=1,2", grids=[{"a": "${b}", "+c": {"_target_": "x.Y", "d": ["${b}", None]}}]) == [
        f"a=$\\{{b\\}} +c={{_target_:x.Y,d:['${{b}}',null]}} b={b}" for b in (1, 2)
    ]


def test_a_table_has_a_run_a_line_each_with_all_that_is_typed(tmp_path):
    (tmp_path / "runs.csv").write_text('\ufefflr,model , note\n0.1,cnn,"a,b"\n1e-3, mlp,\n\n,[1],it\'s 5$\n')
    assert runs("seed=1,2", cwd=tmp_path, runs="runs.csv") == [
        *(f"lr=0.1 model=cnn note='a,b' seed={seed}" for seed in (1, 2)),
        *(f"lr=1e-3 model=mlp seed={seed}" for seed in (1, 2)),
        *(f"model=[1] note='it\\'s 5$' seed={seed}" for seed in (1, 2)),
    ]
    lines = [{"lr": 1.0, "model": "cnn", "on": True}, {"lr": 1, "tags": ["a b", None, "1"], "+new.x": "1"}]
    (tmp_path / "runs.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    assert runs(cwd=tmp_path, runs=str(tmp_path / "runs.jsonl")) == [
        "lr=1.0 model=cnn on=True",
        "lr=1 tags=['a b',null,'1'] +new.x='1'",
    ]


def test_what_meets_all_conditions_of_a_group_is_left_out():
    typed = ("model=cnn,mlp", "lr=0.1,0.2,1", "+n=1,2")
    assert runs(*typed, exclude=["lr>=0.2", "n=2"]) == ["model=cnn lr=0.1 +n=1", "model=mlp lr=0.1 +n=1"]
    kept = expanded(*typed, exclude=[["model=cnn", "lr>0.1"], ["n=1", "model!=cnn"]])
    assert [" ".join(run) for run in kept.runs] == [
        *("model=cnn lr=0.1 +n=1", "model=cnn lr=0.1 +n=2"),
        *(f"model=mlp lr={lr} +n=2" for lr in ("0.1", "0.2", "1")),
    ]
    assert kept.excluded == 7
    assert runs("a@p=x,y", "~b", exclude=["a@p=x"]) == ["a@p=y ~b=null"]
    assert runs("a=1,1.0,'1'", exclude="a=1") == ["a=1.0", "a='1'"], "a value is of its type"


def test_what_means_the_same_is_run_once():
    found = expanded("a=1,1.0,0x", "b=0.1,1e-1,x,'x'", grids=[{"c": "1,1"}, {"c": 1}])
    assert [" ".join(run) for run in found.runs] == [
        f"c=1 a={a} b={b}" for a in ("1", "1.0", "0x") for b in ("0.1", "x")
    ]
    assert found.repeated == 3 * 3 * 4 - 6


def test_a_sample_is_the_same_for_the_same_seed_and_in_the_order_of_all():
    typed = ("a=range(100)", "b=range(100)")
    every = runs(*typed)
    sample = runs(*typed, sample=20)
    assert sample == runs(*typed, sample=20)
    assert len(set(sample)) == 20
    assert [every.index(run) for run in sample] == sorted(every.index(run) for run in sample)
    assert sample != runs(*typed, sample=20, sample_seed=1)
    assert runs("a=1,2", sample=5) == ["a=1", "a=2"]
    few = runs(*typed, sample=20, exclude=["a>0"])
    assert len(few) == 20
    assert all(run.startswith("a=0 ") for run in few)


def test_a_sample_of_more_combinations_than_anybody_can_hold_is_drawn_at_once():
    axes = [f"k{n}=range(100)" for n in range(12)]
    found = expanded(*axes, sample=50)
    assert len({tuple(run) for run in found.runs}) == 50
    assert f"this sweep has {100**12} runs, but can have 1000000" in refusal(*axes)
    assert "+k=range(1000000000) has more than 100000 values: give fewer" in refusal("+k=range(1000000000)")


def test_a_sample_that_is_not_found_is_not_searched_for_without_end(monkeypatch):
    for module in ("grid", "expansion"):
        monkeypatch.setattr(f"hpcorch.launcher.sweeping.{module}.ENUMERABLE", 1000)
    said = refusal("a=range(100)", "b=range(100)", sample=5, exclude=["a<100"])
    assert "random combinations have 0 of the 5 runs of hydra.sweeper.sample: exclude less" in said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"zip": ["a", "c"]}, "hydra.sweeper.zip names c, which this sweep does not set; it sets a, b"),
        ({"zip": ["a", "b"]}, "takes values together, first with first, but a has 2, b has 3"),
        ({"exclude": ["lr>1"]}, "hydra.sweeper.exclude names lr, which this sweep does not set; it sets a, b"),
        ({"zip": [["a"], ["b", "a"]]}, "hydra.sweeper.zip names a twice"),
        ({"zip": ["a", "lr"], "runs": "lr.csv"}, "zip names lr, which hydra.sweeper.runs sets: make what belongs"),
        ({"exclude": ["a=1.0"]}, "hydra.sweeper.exclude: no run has a=1.0; a=1 is a value of another type"),
        ({"exclude": ["a"]}, "hydra.sweeper.exclude: 'a' is not a condition"),
        ({"exclude": ["a>0"]}, "leaves none of the 6 runs"),
        ({"exclude": {"a": 1}}, "has to be a list such as ['model=cnn','lr>0.1']"),
        ({"zip": [["a"], "b"]}, "has to be a list such as [lr,decay]"),
        ({"zip": [[]]}, "has to be a list such as [lr,decay]"),
        ({"zip": 3}, "has to be a list such as [lr,decay]"),
        ({"grids": {"a": 1}}, "has to be a list of mappings"),
        ({"grids": [{1: 1}]}, "has to be a list of mappings"),
        ({"grids": [{"c d": 1}]}, "hydra.sweeper.grids: Hydra cannot read c d=1: "),
        ({"grids": [{"c": "1,,"}]}, "hydra.sweeper.grids: Hydra cannot read c=1,,: "),
        ({"grids": [{"c": "interval(0,1)"}]}, "hydra.sweeper.grids: BasicSweeper does not support sweep type"),
        ({"grids": [{"c": "choice(1,2),3"}]}, "c=choice(1,2),3 has a sweep as one of its values: write one list"),
        ({"grids": "x" * 1000}, f"hydra.sweeper.grids is '{'x' * 98}…, but has to be a list"),
        ({"grids": [{"c": "range(2,1)"}]}, "hydra.sweeper.grids: c=range(2,1) has no values"),
        ({"grids": [{"c": "range(1,2,0)"}]}, "c=range(1,2,0) is no range"),
        ({"grids": [{"c": {"d e": 1}}]}, "'d e' cannot be a key within a mapping"),
        ({"grids": [{"hydra.job.name": "x"}]}, "a sweep cannot set hydra.job.name, which all of its runs share"),
        ({"max_batch_size": 0}, "hydra.sweeper.max_batch_size is 0, but has to be a whole number from 1 on"),
        ({"max_batch_size": True}, "hydra.sweeper.max_batch_size is True"),
        ({"params": ["a"]}, "hydra.sweeper.params is ['a'], but has to be a mapping such as {lr: '0.1,0.2'}"),
        ({"grids": [{"c": 1}, {"a": 1}]}, "grids sets a, which the command line or hydra.sweeper.params sets, too"),
        ({"sample": 0}, "hydra.sweeper.sample is 0, but has to be a whole number from 1 on"),
        ({"sample": "many"}, "hydra.sweeper.sample is 'many'"),
        ({"sample_seed": -1}, "has to be a whole number from 0 on"),
        ({"runs": 3}, "hydra.sweeper.runs is 3, but has to be the path of a file"),
        ({"runs": "~nobody-is-called-so/x.csv"}, "cannot be read: No such file or directory"),
        ({"runs": "a\0b"}, "hydra.sweeper.runs has a NUL character"),
        ({"runs": "/dev/zero"}, "/dev/zero is not a regular file"),
        ({"runs": "none.csv"}, "none.csv cannot be read: No such file or directory"),
        ({"smaple": 3}, "hydra.sweeper.smaple is not a key of hydra/sweeper=hpcorch; did you mean sample?"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(tmp_path, keys, said):
    (tmp_path / "lr.csv").write_text("lr\n1\n")
    assert said in refusal("a=1,2", "b=x,y,z", cwd=tmp_path, **keys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "the first line of"),
        ("twice.csv", b"lr,lr\n1,2\n", "has to have a key a column, each once"),
        ("header.csv", b"lr\n\n", "has no runs"),
        ("cells.csv", b"lr,m\n1,2\n1,2,3\n", "line 3 of"),
        ("quote.csv", b'lr\n"1\n', "is no CSV"),
        ("latin.csv", "lr\nü\n".encode("latin-1"), "is no text in UTF-8"),
        ("semicolons.csv", b"lr;m\n1;2\n", "has to have keys, separated by commas: Hydra cannot read lr;m=1: "),
        ("hydra.csv", b"hydra.job.name\nx\n", "a sweep cannot set hydra.job.name"),
        ("twice.jsonl", b'{"lr": 1, "lr": 2}\n', "with each key once"),
        ("surrogate.jsonl", b'{"lr": "\\ud800"}\n', "line 1 of"),
        ("sign.jsonl", b'{"+": 1}\n', "line 1 of"),
        ("nested.jsonl", b'{"lr": ' + b"[" * 600 + b"]" * 600 + b"}\n", "line 1 of"),
        ("a.csv", b"b\n1\n", "hydra.sweeper.runs sets b, which the command line"),
        ("list.jsonl", b'{"lr": 1}\n[1]\n', "line 2 of"),
        ("deep.jsonl", b"[" * 100_000, "line 1 of"),
        ("empty.jsonl", b"\n{}\n", "line 2 of"),
        ("none.jsonl", b"\n", "has no runs"),
    ],
)
def test_a_table_of_another_form_is_refused_in_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal("b=1", cwd=tmp_path, runs=name)


def test_a_cell_means_what_its_override_means_to_hydra(tmp_path):
    words = [
        "x",
        "a b",
        "it's",
        '"',
        "'a'",
        "1",
        "01",
        "1e3",
        "-0.0",
        "null",
        "True",
        "a,b",
        "[1,2]",
        "[1",
        "{a:1}",
    ]
    signs = ["\\", "\\'", "\\\\'", "a\\,b", "${b}", "${", "$", "#", "range(3)", "int(2.5)", "ü", "a\nb"]
    cells = [*words, *signs, "choice(1,2)", "9" * 5000, "[" * 50, "x=1", "a:b", "???"]
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["+a.b"], *([cell] for cell in cells)])
    found = [one for (one,) in rows(tmp_path / "runs.csv", PARSER)]
    assert len(found) == len(cells)
    assert found == [choice(one.text, PARSER) for one in found]


def values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    words = st.sampled_from(
        ["cnn", "1", "1.0", "null", "True", "a b", "a,b", "[x]", "{a:1}", "x=1", "inf", "", "-", "a-b"]
    )
    scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text, words)
    keys = st.sampled_from(["a", "a.b", "b-c", "_target_"])
    return st.recursive(
        scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
    )


@settings(max_examples=150, derandomize=True, deadline=None)
@given(value=values())
def test_a_value_of_a_table_is_read_by_hydra_as_it_was(value):
    override = PARSER.parse_override(f"key={spelt(value)}")
    assert not override.is_sweep_override()
    found = override.value()
    assert same(found, value) or (isinstance(value, float) and math.isclose(found, value, rel_tol=0))
