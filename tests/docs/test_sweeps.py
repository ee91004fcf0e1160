"""The guide's sweeps have the runs that it shows."""

from __future__ import annotations

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hpcorch.launcher.sweeping.expansion import expand
from hpcorch.launcher.sweeping.sweep_keys import DEFAULTS, SweepKeys
from tests.docs.pages import Page

TEXT = Page("docs/guide/sweeps.md").text
SWEEPS = re.findall(r"^\$ (python .*)\n((?:#.*\n)+)", TEXT, re.MULTILINE)


@pytest.mark.parametrize(("command", "shown"), SWEEPS, ids=[shlex.split(one)[-1] for one, _ in SWEEPS])
def test_a_sweep_has_the_runs_that_the_guide_shows(tmp_path, command, shown):
    (table,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "runs.csv").write_text(table)
    parser = OverridesParser.create()
    given = parser.parse_overrides([word for word in shlex.split(command) if "=" in word and "/" not in word])
    keys = {one.key_or_group.rpartition(".")[2]: one.value() for one in given if one.is_hydra_override()}
    typed = [one for one in given if not one.is_hydra_override()]
    found = expand(typed, SweepKeys.parse(keys), parser, tmp_path)
    assert [f"#{n} : {' '.join(run)}" for n, run in enumerate(found.runs)] == shown.splitlines()


def test_the_table_has_each_key():
    named = re.findall(
        r"`(\w+)`", "".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `"))
    )
    assert sorted(named) == sorted(DEFAULTS)
