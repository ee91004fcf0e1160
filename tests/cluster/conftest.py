"""Tests on a real Slurm (scripts/slurm-lab), submitting as the unprivileged user alice.

Pytest itself runs as root on the host; what a test does as a user it does through ``as_alice``. Two variables
choose the cluster: HPCORCH_LAB_RELEASE (``24.11``; by default the distribution's own Slurm) and HPCORCH_LAB_VENV
(the virtual environment for alice; by default the one that runs pytest). ``scripts/test`` sets both.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch import process
from tests.support.waiting import wait_until

_HERE = Path(__file__).parent
_LAB_SCRIPT = _HERE.parents[1] / "scripts" / "slurm-lab"
_CANNOT = 77  # slurm-lab's exit code where the machine cannot hold a lab
_START_TIMEOUT_S = 280  # a release that is not the distribution's first gets a Debian root
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")


def pytest_configure() -> None:
    """Where several processes share the tests, each but the first has a lab of its own, in a folder beside."""
    if _WORKER != "gw0":
        os.environ["HPCORCH_LAB"] = f"{_ask('folder')}-{_WORKER}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a real Slurm."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A running cluster: 4 nodes of 8 CPUs and 2 GPUs, licences scratch:4 and matlab:2.

    ``venv`` holds hpcorch for the users of the cluster, ``work`` is a folder that nodes and users see.
    """

    release: str
    venv: Path
    work: Path

    @property
    def state(self) -> Path:
        """Where alice's throttled arrays on this cluster are on record."""
        return self.work / "state"

    @property
    def version(self) -> tuple[int, int]:
        """The release as numbers to compare, such as ``(22, 5)``."""
        year, month = self.release.split(".")
        return int(year), int(month)

    def root(self, argv: Sequence[str], *, timeout_s: float = 60) -> process.Finished:
        """Run a command as root, the cluster's administrator."""
        return self._inside(["run", *argv], cwd=self.work, timeout_s=timeout_s)

    def user(
        self, name: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> process.Finished:
        """Run a command as alice, bob or carol in ``cwd``, in a clean environment with ``venv`` on PATH."""
        variables = {"PATH": f"{self.venv}/bin:{_SYSTEM_PATH}", **env}
        prefix = ["env", *(f"{key}={value}" for key, value in variables.items())]
        return self._inside(["user", name, *prefix, *argv], cwd=cwd, timeout_s=timeout_s)

    def _inside(self, arguments: Sequence[str], *, cwd: Path, timeout_s: float) -> process.Finished:
        return process.run([*_lab_command(self.release), *arguments], cwd=cwd, timeout_s=timeout_s)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The cluster; started if it does not run, and then stopped at the end."""
    release = os.environ.get("HPCORCH_LAB_RELEASE") or _ask("release")
    venv = Path(os.environ.get("HPCORCH_LAB_VENV", sys.prefix))
    runs_already = process.run([*_lab_command(release), "status"], timeout_s=60).returncode == 0
    if not runs_already:
        _start(release)
    try:
        lab = Lab(release=release, venv=venv, work=Path(_ask("folder")) / "work")
        lab.state.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(lab.state, "alice", "alice")
        _check_venv(lab)
        yield lab
    finally:
        if not runs_already:
            process.run([*_lab_command(release), "stop"], timeout_s=60)


@pytest.fixture
def workspace(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh project folder of alice's, seen by all nodes. What was submitted in it is cancelled at the end."""
    with project_folder(lab, request.node.name) as path:
        yield path


@contextmanager
def project_folder(lab: Lab, name: str) -> Iterator[Path]:
    """The same for a test, or several, of this name."""
    prefix = re.sub(r"\W+", "-", name)[:40].strip("-")
    path = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=lab.work))
    path.chmod(0o755)
    shutil.chown(path, "alice", "alice")
    yield path
    _cancel_jobs_of(lab, path)
    shutil.rmtree(path, ignore_errors=True)


class AsAlice:
    """Runs commands as alice; calling it returns the finished process whatever its exit code."""

    def __init__(self, lab: Lab, workspace: Path) -> None:
        self._lab = lab
        self._workspace = workspace

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> process.Finished:
        """Run ``argv`` with the virtual environment's programs on PATH.

        :param cwd: the workspace by default
        :param env: variables beside a clean environment, in which throttled arrays are on record for this lab alone
        :raises hpcorch.process.CommandTimeoutError: it did not end in time
        """
        where = cwd or self._workspace
        variables = {"HPCORCH_STATE": str(self._lab.state), **(env or {})}
        return self._lab.user("alice", argv, cwd=where, env=variables, timeout_s=timeout_s)

    def output(self, argv: Sequence[str], **options: object) -> str:
        """The same for a command that must succeed: its standard output, stripped."""
        finished = self(argv, **options)  # type: ignore[arg-type]
        assert finished.returncode == 0, f"{argv} failed:\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout.strip()


@pytest.fixture
def as_alice(lab: Lab, workspace: Path) -> AsAlice:
    """Commands of an ordinary user on the login node."""
    return AsAlice(lab, workspace)


def _lab_command(release: str) -> list[str]:
    return [str(_LAB_SCRIPT), "--release", release]


def _ask(verb: str) -> str:
    answer = process.run([str(_LAB_SCRIPT), verb], timeout_s=10)
    if answer.returncode != 0:
        pytest.skip(f"NO CLUSTER TESTS: {answer.stderr.strip()}")
    return answer.stdout.strip()


def _start(release: str) -> None:
    started = process.run([*_lab_command(release), "start"], timeout_s=_START_TIMEOUT_S)
    if started.returncode == _CANNOT:
        pytest.skip(f"NO CLUSTER TESTS: {started.stderr.strip()}")
    if started.returncode != 0:
        pytest.fail(f"Slurm {release} did not start:\n{started.stderr}")


def _check_venv(lab: Lab) -> None:
    """Fail at once where alice could not import what the tests are about."""
    check = lab.user("alice", ["python", "-c", "import hpcorch"], cwd=lab.work, env={}, timeout_s=60)
    if check.returncode != 0:
        pytest.fail(
            f"alice cannot use the virtual environment {lab.venv}: {check.stderr.strip()}\n"
            "Run scripts/test, which makes one that other users can read."
        )


def _cancel_jobs_of(lab: Lab, folder: Path) -> None:
    def jobs() -> list[str]:
        rows = lab.root(["squeue", "-h", "-o", "%A|%Z"]).stdout.splitlines()
        return sorted({job for job, _, place in (row.partition("|") for row in rows) if _within(place, folder)})

    if left := jobs():
        lab.root(["scancel", *left])
        wait_until(lambda: not jobs())


def _within(place: str, folder: Path) -> bool:
    return folder == Path(place) or folder in Path(place).parents
