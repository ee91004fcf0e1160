"""What the documentation says of Python: its programs run as written, its tables name every call."""

from __future__ import annotations

import re

import pytest

import hpcorch
from tests.docs.pages import GUIDE, Page, Project


@pytest.fixture
def swept(project) -> Project:
    """The example project after two sweeps."""
    (command, *_) = GUIDE.commands("local")
    project.run(command)
    project.run(f"{command} batch_size=64 hydra.sweep.dir=second")
    return project


def test_the_programs_run_as_written(swept):
    pytest.importorskip("pandas", reason="pandas is not installed")
    for name in ("look.py", "two_sweeps.py"):
        swept.write(name, GUIDE.block(f"file: {name}"))
    looked = swept.run("python look.py")
    assert looked.count("{'COMPLETED': 4}") == 2
    assert "'name': 'mlp'" in looked
    rows = [line for line in swept.run("python two_sweeps.py").splitlines() if line.startswith("mlp ")]
    assert len(rows) == 1
    assert "0.05" in rows[0]


def test_every_call_of_a_ledger_is_documented():
    calls = {name for name in vars(hpcorch.Ledger) if not name.startswith("_")} - {"path"}
    assert set(re.findall(r"ledger\.(\w+)\(", Page("docs/guide/python.md").text)) == calls


def test_every_public_name_is_in_the_reference():
    pages = Page("docs/reference/run.md").text + Page("docs/reference/python.md").text
    for name in hpcorch.__all__:
        assert f"hpcorch.{name}" in pages
