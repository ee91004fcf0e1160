"""Times and sizes stand in one module, and a test that sets one sets it for all who use it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.lock import exclusive
from tests.support.paths import REPOSITORY

SOURCES = sorted(path for path in (REPOSITORY / "hpcorch").rglob("*.py") if path.name != "tunables.py")
# Of what a test may set, it sets these by `tune` alone.
PATCHED = re.compile(r"""setattr\([^()]*["'](?:[\w.]*\.)?[A-Z_]+_(?:S|NS|BYTES|MIN|DAYS|RUNS|EVENTS)["']""")


def mentions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tunables":
            yield node.attr


def evaluated_at_import(tree: ast.AST) -> Iterator[str]:
    """The tunables that are read once, when a module is imported: by it, by a class or as a default argument."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for part in (*node.args.defaults, *node.args.kw_defaults, *getattr(node, "decorator_list", ())):
                yield from mentions(part) if part is not None else ()
        elif isinstance(node, ast.ClassDef):
            yield from evaluated_at_import(node)
        else:
            yield from mentions(node)


def test_every_tunable_is_used() -> None:
    used = {name for path in SOURCES for name in mentions(ast.parse(path.read_text()))}
    assert {name for name in vars(tunables) if name.isupper()} - used == set()


def test_a_tunable_is_read_when_it_is_needed() -> None:
    found = {str(path): list(evaluated_at_import(ast.parse(path.read_text()))) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}
    assert [str(path) for path in SOURCES if "from hpcorch.tunables import" in path.read_text()] == []


def test_tests_set_tunables_by_one_means() -> None:
    tests = [path for path in (REPOSITORY / "tests").rglob("*.py") if path.name != "test_tunables.py"]
    assert [str(path) for path in tests if PATCHED.search(path.read_text())] == []


def test_what_a_test_sets_holds_in_this_process(tmp_path: Path, tune) -> None:
    (tmp_path / "lock.1").write_text("another program's")
    tune(LOCK_WAIT_S=0.1)
    with pytest.raises(UnavailableError, match=r"waited 0\.1 s"), exclusive(tmp_path / "lock"):
        pass
    with pytest.raises(AttributeError):
        tune(NO_SUCH_WAIT_S=1)
