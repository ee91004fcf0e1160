"""README and guide are true: the first example runs, tables name what there is, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcorch.cli.command_line import COMMANDS
from hpcorch.launcher.config import local_configuration, slurm_configuration
from hpcorch.model.states import AttemptState
from hpcorch.runtime.run.resolver import VALUES
from hpcorch.runtime.run.run import Run
from tests.docs.pages import GUIDE, GUIDES, REPOSITORY, Page, first_cells

README = Page("README.md")
CHECKPOINTS = Page("docs/guide/checkpoints.md")
# What somebody who has ten minutes must meet, in this order.
FIRST = (
    "## Try it",
    "## A first sweep",
    "hydra.launcher.gres=gpu:1",
    "## Coming from hydra-submitit-launcher",
    "Change `submitit_slurm` to `hpcorch_slurm`",
    "| wall time (s) |",
)
FIRST_LINES = 150
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(str(path.relative_to(REPOSITORY)) for path in sorted(REPOSITORY.glob("docs/**/*.md"))),
)


def test_the_first_sweep_runs_as_written(project):
    for command in GUIDE.commands("local"):
        project.run(command)


def test_every_key_of_the_launchers_is_documented():
    keys = {*slurm_configuration(), *local_configuration()} - {"_target_"}
    rows = [line.split("|")[1] for line in Page("docs/guide/launchers.md").text.splitlines() if "| `" in line]
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documented == keys


def test_every_command_is_documented():
    for name in COMMANDS:
        assert f"`hpcorch {name}" in GUIDE.text, f"README and guide do not mention hpcorch {name}"


def test_every_view_is_documented():
    defined = re.findall(
        r"^CREATE VIEW (\w+)", (REPOSITORY / "hpcorch/ledger/schema/sql/views.sql").read_text(), re.MULTILINE
    )
    assert set(re.findall(r"^\| `(v_\w+)` \|", GUIDE.text, re.MULTILINE)) == set(defined)


def test_every_call_of_a_run_is_documented():
    given = {name for name in vars(Run).keys() | vars(Run({})).keys() if not name.startswith("_")}
    assert set(re.findall(r"(?<![/\w])run\.(\w+)", CHECKPOINTS.text)) == given


def test_every_value_for_configurations_is_documented():
    assert set(re.findall(r"\$\{hpcorch:(\w+)\}", GUIDE.text)) == VALUES.keys()


def test_every_way_in_which_an_attempt_can_end_is_documented():
    ends = {state.value for state in AttemptState if state.is_final}
    assert ends <= first_cells(CHECKPOINTS.text)


def test_the_first_lines_are_for_somebody_who_has_ten_minutes():
    lines = "\n".join(README.text.splitlines()[:FIRST_LINES])
    places = [lines.find(words) for words in FIRST]
    assert -1 not in places, [words for words, place in zip(FIRST, places, strict=True) if place == -1]
    assert places == sorted(places)


def test_every_page_of_the_guide_is_referred_to_by_the_readme():
    assert set(re.findall(r"\]\((docs/guide/[\w-]+\.md)\)", README.text)) == set(GUIDES)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_refers_to_exists(page):
    here = REPOSITORY / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", _prose(here)):
        meant = (here.parent / target).resolve() if target else here
        assert meant.exists(), f"{page} refers to {target}"
        assert not anchor or anchor in _anchors(meant), f"{page} refers to {target}#{anchor}"


def _prose(page: Path) -> str:
    """The text without what is not read as links."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
