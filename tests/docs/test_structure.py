"""CONTRIBUTING and the architecture name files and packages that exist, and every package has its line."""

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


def test_each_behaviour_of_the_table_is_listed_once():
    table = Page("CONTRIBUTING.md").text.partition("| behaviour | file |")[2].partition("\n\n")[0]
    behaviours = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert len(behaviours) == len(set(behaviours)) > 30
