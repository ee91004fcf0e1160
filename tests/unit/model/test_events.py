"""Facts: each is found by its kind and by its name, and is read back as it was written."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpcorch.model.events
from hpcorch.model import events as ev
from hpcorch.model.events.base import Fact
from tests.support.events import body_of

MODULES = sorted(set(ev.KINDS.values()))
HANDED_ON = {
    alias.name
    for node in ast.walk(ast.parse(Path(hpcorch.model.events.__file__).read_text()))
    if isinstance(node, ast.ImportFrom) and node.module in MODULES
    for alias in node.names
}


@pytest.mark.parametrize("module", MODULES)
def test_each_fact_of_a_module_has_a_kind_and_is_handed_on_by_the_package(module: str) -> None:
    facts = [one for one in vars(import_module(module)).values() if isinstance(one, type) and issubclass(one, Fact)]
    for fact in facts:
        if fact is not Fact:
            assert ev.KINDS[fact.kind] == module
            assert ev.fact_class(fact.kind) is fact
            assert getattr(ev, fact.__name__) is fact
            assert fact.__name__ in HANDED_ON, "type checkers learn of it there"


def test_nothing_else_is_handed_on() -> None:
    assert {ev.fact_class(kind).__name__ for kind in ev.KINDS} == HANDED_ON
    with pytest.raises(AttributeError, match="no attribute 'RunTeleported'"):
        _ = ev.RunTeleported


def test_reading_a_fact_loads_the_facts_of_its_subject_only() -> None:
    program = """if True:
        import sys
        from hpcorch.model.events import from_body
        from_body("attempt-called", {})
        print(*sorted(name for name in sys.modules if name.startswith("hpcorch.model.events.")))
    """
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["hpcorch.model.events.attempt", "hpcorch.model.events.base"]


def test_fields_that_are_null_are_not_written_and_are_null_when_read() -> None:
    fact = ev.SubmissionRejected(submission=3, reason="no such partition")
    assert ev.to_body(fact) == {"submission": 3, "reason": "no such partition"}
    assert ev.from_body("submission-rejected", ev.to_body(fact)) == fact


def test_fact_without_a_field_that_it_needs_is_kept_as_it_was_written() -> None:
    assert ev.from_body("submission-rejected", {"submission": 3}) == ev.UnknownFact(
        original_kind="submission-rejected", body={"submission": 3}
    )


@pytest.mark.parametrize("kind", sorted(ev.KINDS))
def test_a_fact_with_a_field_of_another_type_counts_for_nothing(kind: str) -> None:
    annotations = {item.name: str(item.type) for item in fields(ev.fact_class(kind))}
    body = body_of(kind)
    assert ev.to_body(ev.from_body(kind, body)) == body
    assert not isinstance(ev.from_body(kind, body), ev.UnknownFact)
    for name, annotation in annotations.items():
        if annotation not in ("Any", "Any | None"):
            for wrong in (1 << 63, object()):
                assert isinstance(ev.from_body(kind, {**body, name: wrong}), ev.UnknownFact), (name, wrong)


@pytest.mark.parametrize("runs", ["", "0-", "5-x", "0-9999999999", "0-4000001", "1-2,,3", "0-2\n", "-1"])
def test_indices_that_no_sweep_can_have_are_not_understood(runs: str) -> None:
    body = {"submission": 0, "action": "hold", "runs": runs, "user": "a", "uid": 1, "host": "n"}
    assert isinstance(ev.from_body("control-requested", body), ev.UnknownFact)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(ev.KINDS)), st.data())
def test_whatever_the_fields_of_a_fact_hold_it_is_kept_as_it_was_written(kind: str, data: st.DataObject) -> None:
    names = [item.name for item in fields(ev.fact_class(kind))]
    body = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), json_values))
    fact = ev.from_body(kind, body)
    assert ev.kind_of(fact) == kind
    if isinstance(fact, ev.UnknownFact):
        assert ev.to_body(fact) == body
