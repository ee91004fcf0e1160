"""Modules come from the snapshot, under the names of the project's files."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest

from hpcorch.provenance.code.import_paths import Move
from hpcorch.provenance.code.sources import loaded_files
from hpcorch.runtime.program.frozen_imports import FrozenFinder, is_frozen


class Project:
    """A project and its snapshot, and what was told of modules that are not in there."""

    def __init__(self, folder: Path) -> None:
        self.root, self.tree = folder / "root", folder / "tree"
        self.root.mkdir()
        self.tree.mkdir()
        self.told: list[tuple[str, str]] = []

    def has(self, path: str, *, frozen: str | None, live: str | None) -> Path:
        for top, text in ((self.tree, frozen), (self.root, live)):
            if text is not None:
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_text(text)
        return self.root / path

    def finder(self) -> FrozenFinder:
        return FrozenFinder(
            Move(root=self.root, tree=self.tree), self.root, lambda name, file: self.told.append((name, file))
        )

    def load(self, name: str, *path: str) -> ModuleType:
        spec = self.finder().find_spec(name, list(path) or [str(self.root)])
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        if spec.loader is not None:
            spec.loader.exec_module(module)
        return module


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def test_a_module_has_the_frozen_code_and_the_name_of_the_live_file(project):
    file = project.has("words.py", frozen="WORD = 'frozen'\n", live="WORD = 'edited'\n")
    module: Any = project.load("words")
    assert (module.WORD, module.__file__, module.__spec__.origin) == ("frozen", str(file), str(file))
    assert linecache.getline(str(file), 1) == "WORD = 'frozen'\n"
    assert is_frozen(module)
    assert project.told == []


@pytest.mark.parametrize("live", [None, "WORD = 'edited'\n"])
def test_a_module_that_was_deleted_since_is_still_there(project, live):
    project.has("words.py", frozen="WORD = 'frozen'\n", live=live)
    assert project.load("words").WORD == "frozen"


def test_a_module_that_only_the_live_tree_has_is_found_and_told(project):
    file = project.has("late.py", frozen=None, live="WORD = 'live'\n")
    module: Any = project.load("late")
    assert (module.WORD, is_frozen(module)) == ("live", False)
    assert project.told == [("late", str(file))]


def test_packages_with_and_without_an_init_file_have_their_live_folders(project):
    project.has("pkg/__init__.py", frozen="", live="")
    project.has("space/part.py", frozen="", live="")
    (project.root / "pkg" / "data.txt").write_text("data beside the code")
    package, space = project.load("pkg"), project.load("space")
    assert list(package.__path__) == [str(project.root / "pkg")]
    assert list(space.__path__) == [str(project.root / "space")]
    assert package.__spec__.loader.get_data(str(project.root / "pkg" / "data.txt")) == b"data beside the code"


def test_an_extension_module_is_the_copy_in_the_snapshot(project):
    specs = (importlib.util.find_spec(name) for name in ("_bisect", "_queue", "_lsprof", "_uuid", "_ctypes_test"))
    origin = next(spec.origin for spec in specs if spec is not None and (spec.origin or "").endswith(".so"))
    name = Path(origin).name
    project.has(f"lib/{name}", frozen="", live="no extension at all")
    shutil.copyfile(origin, project.tree / "lib" / name)
    module = project.load(f"lib.{name.partition('.')[0]}", str(project.root / "lib"))
    assert module.__file__ == str(project.root / "lib" / name)
    assert is_frozen(module)


def test_a_package_of_an_editable_install_with_a_finder_of_its_own_is_frozen(project, monkeypatch):
    file = project.has("src/lib/__init__.py", frozen="WORD = 'frozen'\n", live="WORD = 'edited'\n")
    module: Any = ModuleType("__editable___lib_finder")
    module.MAPPING = {"lib": str(file.parent)}
    finder = type("EditableFinder", (), {"__module__": module.__name__, "find_spec": PathFinder.find_spec})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    found: Any = project.load("lib", "/nowhere")
    assert (found.WORD, found.__file__) == ("frozen", str(file))


def test_modules_of_other_places_and_of_hpcorch_are_left_to_python(project):
    finder = project.finder()
    assert finder.find_spec("hpcorch.errors", None) is None
    assert finder.find_spec("no_such_module", [str(project.root)]) is None


def test_a_module_in_an_archive_is_frozen_with_the_archive(project, monkeypatch):
    for top, word in ((project.tree, "frozen"), (project.root, "edited")):
        with ZipFile(top / "lib.zip", "w") as archive:
            archive.writestr("words_in_zip.py", f"WORD = '{word}'\n")
    monkeypatch.syspath_prepend(str(project.root / "lib.zip"))
    live: Any = importlib.import_module("words_in_zip")
    del sys.modules["words_in_zip"]
    assert loaded_files(project.root, {"words_in_zip": live}) == ["lib.zip"]
    module: Any = project.load("words_in_zip", str(project.root / "lib.zip"))
    assert module.WORD == "frozen"
    assert project.told == []
