"""What an attempt says and records of packages that are not those of its submission."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from hpcorch.errors import DriftError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import RecordPlace
from hpcorch.model.events import DriftFound, Fact
from hpcorch.model.values import digest
from hpcorch.provenance.environment.record import record
from hpcorch.runtime.attempt.environment import compare_environment, encode_environment
from hpcorch.runtime.context.drift import DriftLog

REMOVED = {f"removed{number}": f"{number} sha256:{number}" for number in range(7)}
TOLD = "7 packages differ: removed0 0 -> none, removed1 1 -> none,"


def compared(tmp_path, policy: str) -> tuple[DriftLog, list[Fact]]:
    """An attempt that misses seven of the packages that were there at submission."""
    known = record(sys_path=sys.path)
    content = encode_environment(replace(known, packages={**known.packages, **REMOVED}), {})
    (tmp_path / "environment.json").write_bytes(content)
    frozen = RecordPlace(file="environment.json", digest=digest(content), fingerprint="another")
    facts: list[Fact] = []
    drift = DriftLog(policies={"environment": policy}, record=facts.append)
    place: Any = SimpleNamespace(layout=SweepLayout(tmp_path), host="n1")
    compare_environment(frozen, place, drift, sys.path)
    return drift, facts


def test_changed_packages_are_recorded_one_by_one_and_warned_of_in_one_line(tmp_path, capfd):
    _, facts = compared(tmp_path, "warn")
    found = [fact.what for fact in facts if isinstance(fact, DriftFound)]
    assert found == [f"packages {name}" for name in REMOVED]
    said = "".join(capfd.readouterr())
    assert said.count("drift of the environment") == 1
    assert TOLD in said


def test_changed_packages_are_refused_in_one_sentence(tmp_path):
    drift, _ = compared(tmp_path, "refuse")
    with pytest.raises(DriftError) as refused:
        drift.settle()
    assert str(refused.value).startswith(TOLD)
