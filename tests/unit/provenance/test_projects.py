"""Whose neighbours are code: projects, scripts in homes and temporary folders, packages; what cannot be read."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from hpcorch.provenance.code import git
from hpcorch.provenance.code.code_state import Limits, Sources
from hpcorch.provenance.code.sources import Project, collect, is_shared, project_of
from tests.support.checkouts import as_an_ordinary_user, committed, names, reasons, write

CLOSED = "it cannot be read"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """A home of this test's own, and git as if nobody had configured it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
    return folder


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def everybodys(tmp_path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def found_for(script: Path, *, ledger: Path | None = None, modules: dict[str, ModuleType] | None = None) -> Sources:
    project = project_of(script.parent, git.look(script.parent)[0], scripts=[script], ledger=ledger)
    return collect(project, modules=modules or {})


def loaded(path: Path) -> dict[str, ModuleType]:
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    return {path.stem: module}


# --- projects ---


@pytest.mark.parametrize("mark", ["pyproject.toml", "setup.py", ".hpcorch/ledger.db"])
def test_without_git_a_project_is_the_nearest_folder_with_a_mark_of_one(root, mark):
    write(root, {mark: "", "src/pkg/a.py": "", "scripts/train.py": ""})
    assert {"src/pkg/a.py", "scripts/train.py"} <= set(names(found_for(root / "scripts/train.py")))


def test_without_any_mark_the_folder_of_the_script_is_the_project(root):
    write(root, {"other/a.py": "", "scripts/train.py": "", "scripts/b.py": ""})
    assert names(found_for(root / "scripts/train.py")) == ["b.py", "train.py"]


def test_the_folder_that_the_ledger_serves_is_the_project_from_the_first_launch_on(root):
    write(root, {"src/a.py": "", "scripts/train.py": ""})
    first = names(found_for(root / "scripts/train.py", ledger=root / ".hpcorch/ledger.db"))
    write(root, {".hpcorch/ledger.db": ""})
    assert first == names(found_for(root / "scripts/train.py")) == ["scripts/train.py", "src/a.py"]


def test_what_is_beside_the_script_is_found_before_the_rest_of_a_large_project(root):
    write(root, {"pyproject.toml": "", **{f"a/{n}.py": "" for n in range(9)}, "z/train.py": "", "z/helper.py": ""})
    project = project_of(root / "z", git.look(root / "z")[0])
    assert {"z/train.py", "z/helper.py"} <= set(names(collect(project, limits=Limits(seen=4), modules={})))


@pytest.mark.parametrize("mark", ["", "pyproject.toml", ".hpcorch/ledger.db"])
def test_a_script_in_a_home_or_a_folder_of_everybodys_is_frozen_alone(home, everybodys, mark):
    for folder in (home, everybodys):
        write(folder, {"job.sh": "true", "other.py": "", "mail/x.txt": "", **({mark: ""} if mark else {})})
        found = found_for(folder / "job.sh")
        assert names(found) == ["job.sh"]
        assert "home or a folder for temporary files" in reasons(found)["./"]


def test_a_folder_in_a_home_or_in_a_temporary_one_is_a_project_of_its_own(home, everybodys):
    for folder in (home, everybodys):
        write(folder, {"pyproject.toml": "", "work/train.py": "", "work/helper.py": "", "other.py": ""})
        assert names(found_for(folder / "work/train.py")) == ["helper.py", "train.py"]


def test_of_a_home_that_is_a_checkout_only_what_git_tracks_is_code(home):
    committed(home, {"train.py": "", "conf/x.yaml": ""})
    write(home, {"taxes.txt": "", "job.sh": ""})
    assert names(found_for(home / "train.py")) == ["conf/x.yaml", "train.py"]
    assert names(found_for(home / "job.sh")) == ["conf/x.yaml", "job.sh", "train.py"]


def test_packages_that_a_script_in_a_home_has_loaded_are_code_whole(home):
    write(home, {"train.py": "", "lib/pkg/__init__.py": "", "lib/pkg/sub/late.py": "", "lib/other.py": ""})
    found = found_for(home / "train.py", modules=loaded(home / "lib/pkg/__init__.py"))
    assert names(found) == ["lib/pkg/__init__.py", "lib/pkg/sub/late.py", "train.py"]


def test_homes_temporary_folders_and_what_is_above_them_are_shared(home, everybodys, root, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    for folder in (home, home.parent, everybodys, root, Path("/"), Path("/tmp"), Path("/root")):
        assert is_shared(folder), folder
    for folder in (home / "x", everybodys / "x", root / "x"):
        folder.mkdir()
        assert not is_shared(folder), folder


# --- what cannot be read ---


@pytest.fixture
def mine(monkeypatch):
    """A project that an ordinary user can reach, with a folder and a file that are closed to that user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp")).resolve()
    write(folder, {"pyproject.toml": "", "train.py": "", "pkg/a.py": "", "pkg/closed/b.py": "", "closed.py": ""})
    yield folder
    (folder / "pkg/closed").chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("in_git", [False, True])
def test_a_folder_that_cannot_be_read_is_passed_over_and_named(mine, in_git):
    if in_git:
        committed(mine, {".gitignore": "ignored/\n"})
        shutil.rmtree(mine / "pkg/closed")
        write(mine, {"pkg/closed/b.py": "", "ignored/x.py": ""})
        (mine / "ignored").chmod(0)
    with as_an_ordinary_user(mine):
        (mine / "pkg/closed").chmod(0)
        project = Project(root=mine, is_checkout=in_git)
        found = collect(project, modules={})
        if in_git:
            (mine / "ignored").chmod(0o700)
    assert reasons(found)["pkg/closed/"].startswith(CLOSED)
    assert {"pyproject.toml", "train.py", "pkg/a.py"} <= set(names(found))
    assert not next(left for left in found.left if left.path == "pkg/closed/").is_usual


def test_sockets_pipes_and_links_that_lead_nowhere_stop_nothing(root):
    write(root, {"train.py": ""})
    os.mkfifo(root / "pipe")
    (root / "nowhere").symlink_to("gone")
    (root / "away").symlink_to("/nowhere/gone")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(root)  # a socket's path is short
        listening.bind("socket")
        os.chdir(here)
        found = collect(Project(root=root), modules={})
    assert names(found) == ["nowhere", "train.py"]
    assert set(reasons(found)) == {"away", "pipe", "socket"}


# --- modules that git ignores ---

IGNORED = "_version.py\n*_pb2.py\n*.so\n/generated/\n/data/\nbuild/\n.venv/\nscratch/\n/vendor/\nlocal_secrets.py\n"


@pytest.fixture
def with_ignored(root) -> Path:
    tracked = {"train.py": "", "src/pkg/__init__.py": "", "src/pkg/ops/__init__.py": "", "docs/index.md": ""}
    committed(root, {**tracked, ".gitignore": IGNORED})
    write(root, dict.fromkeys(("src/pkg/_version.py", "src/pkg/ops/kernel.cpython-311-x86_64-linux-gnu.so"), "1"))
    write(root, dict.fromkeys(("model_pb2.py", "generated/api.py", "src/pkg/scratch/inner/x.py"), "1"))
    write(root, dict.fromkeys(("data/raw/clean.py", "docs/api/conf_pb2.py", "src/pkg/build/lib.py"), "1"))
    write(root, dict.fromkeys((".venv/pyvenv.cfg", ".venv/lib/x.py", "vendor/a/__init__.py", "vendor/a/b.py"), "1"))
    write(root, dict.fromkeys(("src/pkg/build/lib.so", "local_secrets.py"), "1"))
    return root


def test_modules_that_git_ignores_in_packages_of_the_project_are_code(with_ignored):
    found = collect(Project(root=with_ignored, is_checkout=True), modules={})
    taken = {
        *("src/pkg/_version.py", "src/pkg/ops/kernel.cpython-311-x86_64-linux-gnu.so"),
        *("model_pb2.py", "generated/api.py"),
    }
    tracked = {".gitignore", "train.py", "src/pkg/__init__.py", "src/pkg/ops/__init__.py", "docs/index.md"}
    assert set(names(found)) == tracked | taken
    assert reasons(found)["local_secrets.py"] == "git ignores it, and its name is one that secrets have"


def test_what_is_ignored_and_on_the_path_of_imports_is_code(with_ignored):
    path = [str(with_ignored), str(with_ignored / "vendor"), "/usr/lib/python3"]
    found = collect(Project(root=with_ignored, is_checkout=True), modules={}, sys_path=path)
    assert {"vendor/a/__init__.py", "vendor/a/b.py"} <= set(names(found))


def test_a_package_that_is_called_build_is_code(with_ignored):
    write(with_ignored, {"src/pkg/build/__init__.py": ""})
    found = names(collect(Project(root=with_ignored, is_checkout=True), modules={}))
    assert {"src/pkg/build/__init__.py", "src/pkg/build/lib.so"} <= set(found)


def test_more_ignored_modules_than_the_limit_are_passed_over_with_a_word(root):
    committed(root, {"train.py": "", ".gitignore": "gen_*.py\n"})
    write(root, {f"gen_{number}.py": "" for number in range(5)})
    found = collect(Project(root=root, is_checkout=True), limits=Limits(ignored=3), modules={})
    assert names(found) == [".gitignore", "gen_0.py", "gen_1.py", "gen_2.py", "train.py"]
    assert reasons(found) == {"gen_3.py": "git ignores it, and only the first 3 modules that git ignores are taken"}


# --- data ---


def test_data_that_git_does_not_track_is_no_code_and_what_it_tracks_is(root):
    committed(root, {"train.py": "", "table.csv": "1"})
    before = names(collect(Project(root=root, is_checkout=True), modules={}))
    written = ("results.csv", "logs/job-1.out", "runs.parquet", "plots/a.png", "tb/events.out.tfevents.1.host")
    write(root, {**dict.fromkeys(written, "1"), "mlruns/0/meta.yaml": "", "wandb/run-1/config.yaml": ""})
    found = collect(Project(root=root, is_checkout=True), modules={})
    assert names(found) == before == ["table.csv", "train.py"]
    assert all(left.is_usual for left in found.left)
    write(root, {"settings.yaml": ""})
    assert "settings.yaml" in names(collect(Project(root=root, is_checkout=True), modules={}))
