"""What tests of whole programs share: the fake Slurm on PATH, and the command line within this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.apps import App, make_app
from tests.support.command_line import CommandLine
from tests.support.fake_cluster import FakeCluster
from tests.support.paths import FAKE_SLURM
from tests.support.sweeps import SweepOnDisk, make_sweep


@pytest.fixture(autouse=True, scope="session")
def whole_families() -> None:
    """What a test's processes leave behind, such as jobs of the fake Slurm, ends with the test, too."""
    processes.adopt_orphans()


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    """This process's environment, with the fake Slurm first on PATH."""
    path = f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "FAKE_SLURM_DIR": str(tmp_path / "slurm")}


@pytest.fixture
def fake_slurm(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake Slurm for this process and all that it starts: the folder where it keeps its jobs."""
    for name in ("PATH", "FAKE_SLURM_DIR"):
        monkeypatch.setenv(name, environ[name])
    return Path(environ["FAKE_SLURM_DIR"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for batch scripts."""
    path = tmp_path / "sweep dir"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is the test's, and what it writes there stays there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hpcorch(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """``hpcorch`` within this process."""
    return CommandLine(capsys)


@pytest.fixture
def cluster(fake_slurm: Path) -> FakeCluster:
    """What the fake Slurm has on record."""
    return FakeCluster(fake_slurm)


@pytest.fixture
def on_slurm(fake_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An application whose sweeps run on the fake Slurm; the working directory is its project."""
    monkeypatch.setenv("HPCORCH_STATE", str(tmp_path / "state"))
    return _project(tmp_path, "hpcorch_slurm", monkeypatch)


@pytest.fixture
def locally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An application whose sweeps run as processes of this host; the working directory is its project."""
    return _project(tmp_path, "hpcorch_local", monkeypatch)


def _project(tmp_path: Path, launcher: str, monkeypatch: pytest.MonkeyPatch) -> App:
    app = make_app(tmp_path / "project", launcher)
    monkeypatch.chdir(app.folder)
    return app


@pytest.fixture
def sweep(tmp_path: Path) -> SweepOnDisk:
    """A local sweep whose two runs are submitted and not started."""
    made = make_sweep(tmp_path)
    made.submit([0, 1])
    made.ingest()
    return made
