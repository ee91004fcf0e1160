"""Folders are walked through however deep they are, and links are not followed."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import pytest

from hpcorch.journal.folders import raise_error, walk


def nest(top: Path, depth: int, name: str) -> None:
    """Folders in folders, perhaps deeper than a path can say, and a file in the last."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (found := tmp_path / "top").mkdir()
    return found


def test_it_takes_no_more_of_the_stack_where_folders_are_deep(top):
    nest(top, 200, "a")
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = [names for _, _, names in walk(top) if names]
    finally:
        sys.setrecursionlimit(usual)
    assert found == [["file"]]


def test_a_folder_whose_path_is_too_long_is_an_error(top):
    nest(top, 20, "a" * 250)
    errors: list[OSError] = []
    assert 5 < sum(1 for _ in walk(top, on_error=errors.append)) < 20
    assert len(errors) == 1
    with pytest.raises(OSError, match="File name too long"):
        list(walk(top, on_error=raise_error))


def test_it_is_what_the_standard_library_finds(top):
    for name in ("a/b/c", "a/d", "e"):
        (top / name).mkdir(parents=True)
        (top / name / "file").touch()
    (top / "a" / "up").symlink_to("..")
    (top / "loop").symlink_to("loop")
    (top / "away").symlink_to("nowhere")
    usual = [(folder, sorted(folders), sorted(names)) for folder, folders, names in os.walk(top)]
    found = [(folder, sorted(folders), sorted(names)) for folder, folders, names in walk(top)]
    assert sorted(found) == sorted(usual)


def test_folders_that_are_taken_out_are_not_entered(top):
    (top / "in" / "x").mkdir(parents=True)
    (top / "out" / "y").mkdir(parents=True)
    entered = []
    for folder, folders, _ in walk(top):
        entered.append(Path(folder).name)
        folders[:] = [name for name in folders if name != "out"]
    assert entered == ["top", "in", "x"]
