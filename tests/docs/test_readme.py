"""The README is true: its examples run, its tables name what there is."""

from __future__ import annotations

import re

from omegaconf import OmegaConf

from hpcorch.cli.main import COMMANDS
from hpcorch.launcher.config import LocalConf, SlurmConf
from hpcorch.model.states import AttemptState
from hpcorch.runtime.run import VALUES, Run
from tests.docs.pages import REPOSITORY, Page, first_cells

README = Page("README.md")


def test_the_first_sweep_runs_as_written(project):
    for command in README.commands("local"):
        project.run(command)


def test_every_key_of_the_launchers_is_documented():
    keys = {*OmegaConf.structured(SlurmConf()), *OmegaConf.structured(LocalConf())} - {"_target_"}
    rows = [line.split("|")[1] for line in README.section("Keys of the launchers").splitlines() if "| `" in line]
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documented == keys


def test_every_command_is_documented():
    for name in COMMANDS:
        assert f"`hpcorch {name}" in README.text, f"the README does not mention hpcorch {name}"


def test_every_view_is_documented():
    defined = re.findall(
        r"^CREATE VIEW (\w+)", (REPOSITORY / "hpcorch/ledger/sql/views.sql").read_text(), re.MULTILINE
    )
    assert set(re.findall(r"^\| `(v_\w+)` \|", README.text, re.MULTILINE)) == set(defined)


def test_every_call_of_a_run_is_documented():
    given = {name for name in vars(Run) if not name.startswith("_")} | vars(Run({})).keys()
    section = README.section("Preemption and checkpoints")
    assert set(re.findall(r"run\.(\w+)", section)) == given


def test_every_value_for_configurations_is_documented():
    assert set(re.findall(r"\$\{hpcorch:(\w+)\}", README.text)) == VALUES.keys()


def test_every_way_in_which_an_attempt_can_end_is_documented():
    ends = {state.value for state in AttemptState if state.is_final}
    assert ends <= first_cells(README.section("Preemption and checkpoints"))


def test_pages_that_are_referred_to_exist():
    for page in ("README.md", "docs/checkpoints.md", "docs/sharing.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", Page(page).text):
            assert ((REPOSITORY / page).parent / target).exists(), f"{page} refers to {target}"
