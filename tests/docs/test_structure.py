"""CONTRIBUTING and the architecture name what exists: files, layers, and a line for every package."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import REPOSITORY, Page

# Folders whose files are named by their whole path; what a sweep writes is named from the sweep directory.
_PATH = re.compile(r"(?:hpcorch|tests|scripts|docs|conf)(?:/[\w.-]+)+|\w+\.(?:md|toml)")
_IN_CODE = re.compile(r"`([^`\n]+)`")
_A_PLACEHOLDER = re.compile(r"\b(NAME|PACKAGE)\b")


def _named(page: str) -> set[str]:
    spans = " ".join(_IN_CODE.findall(Page(page).text))
    return {path for path in _PATH.findall(spans) if not _A_PLACEHOLDER.search(path)}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_a_page_names_exists(page):
    named = _named(page)
    assert len(named) > 10
    assert [path for path in sorted(named) if not (REPOSITORY / path).exists()] == []


def test_every_package_has_a_line_in_the_architecture():
    package = REPOSITORY / "hpcorch"
    folders = {path.parent for path in package.rglob("*.py") if path.parent != package}
    packages = {str(folder.relative_to(REPOSITORY)) for folder in folders} - {"hpcorch/_plugin/hydra_plugins"}
    rows = re.findall(r"^\| `(hpcorch/[\w/]+)` \|", Page("docs/architecture.md").text, re.MULTILINE)
    assert set(rows) - {"hpcorch/_plugin"} == packages
    assert len(rows) == len(set(rows))


def test_the_layers_are_those_that_are_checked():
    project = Page("pyproject.toml").text.partition('containers = ["hpcorch"]')[2]
    checked = re.findall(r'^  "(.+?)"', project.partition("exhaustive")[0], re.MULTILINE)
    drawn = Page("docs/architecture.md").text.partition("## Layers")[2].split("```")[1]
    assert [re.split(r"  +", line)[0] for line in drawn.strip().splitlines()] == checked


def test_each_behaviour_of_the_table_is_listed_once():
    table = Page("CONTRIBUTING.md").text.partition("| behaviour | file |")[2].partition("\n\n")[0]
    behaviours = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert len(behaviours) == len(set(behaviours)) > 30
