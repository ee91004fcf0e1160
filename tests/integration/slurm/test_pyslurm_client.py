"""The client over a pretended pyslurm: the shared cases, and every case in which squeue is used instead."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcorch import tunables
from hpcorch.errors import SlurmUnavailableError
from hpcorch.slurm.choose import pyslurm_state, slurm_client
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.pyslurm import client as pyslurm_client
from hpcorch.slurm.pyslurm.client import PyslurmClient
from hpcorch.slurm.pyslurm.rows import CannotTellError
from tests.support.conformance.pyslurm_client import PyslurmConformance, by_id
from tests.support.conformance.slurm_client import Scripts
from tests.support.paths import FAKE_PYSLURM

pytestmark = pytest.mark.programs

FITTING = "24.11.0"  # as the pretended Slurm


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``install(version, extra)``: a pyslurm of that version, ``extra`` being code at its end. Names its folder."""

    def call(version: str | None = FITTING, extra: str = "") -> Path:
        site = tmp_path / "site"
        site.mkdir()
        shutil.copy(FAKE_PYSLURM, site)
        with (site / "pyslurm.py").open("a") as module:
            module.write(f"\nwith open({str(site / 'imports')!r}, 'a') as log:\n    log.write('x')\n{extra}\n")
        if version is not None:
            (site / f"pyslurm-{version}.dist-info").mkdir()
            (site / f"pyslurm-{version}.dist-info" / "METADATA").write_text(f"Name: pyslurm\nVersion: {version}\n")
        monkeypatch.syspath_prepend(site)
        return site

    monkeypatch.delitem(sys.modules, "pyslurm", raising=False)
    yield call
    sys.modules.pop("pyslurm", None)


@pytest.fixture
def at_once(tune) -> None:
    """The first question goes to pyslurm."""
    tune(PYSLURM_FROM_QUERIES=0)


@pytest.fixture
def job(environ, folder, monkeypatch) -> str:
    """A held array in the pretended queue, which this process's environment names."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return CliClient().submit(Scripts(folder).write()).job_id


def imports(site: Path) -> int:
    """How often the pretended pyslurm was imported, trials included."""
    path = site / "imports"
    return len(path.read_text()) if path.exists() else 0


class TestFakePyslurm(PyslurmConformance):
    """The pretended pyslurm over the pretended Slurm keeps the promises of both."""

    @pytest.fixture(autouse=True)
    def _installed(self, install) -> None:
        install()


def test_without_pyslurm_the_client_is_that_of_the_commands(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyslurm", None)
    assert type(slurm_client()) is CliClient
    assert pyslurm_state("24.11.5") is None


def test_pyslurm_is_imported_only_by_who_asks_again_and_again(install, job):
    site = install()
    client = slurm_client()
    for _ in range(tunables.PYSLURM_FROM_QUERIES):
        shown = client.queue([job])
    client.config(), client.find_token("x", shown[0].submitted_at), client.queue([])
    assert imports(site) == 0
    assert client.queue([job]) == client.queue([job]) == shown
    assert imports(site) == 2, "once in the trial, once here"


UNFIT = {
    "is for another release": ({"version": "22.5.3"}, "22.5.3 is made for another release"),
    "is no installed package": ({"version": None}, "no installed package"),
    "cannot be imported": ({"extra": "raise ImportError('libslurm.so.38: cannot open')"}, "libslurm.so.38"),
    "ends the process at import": ({"extra": "import os; os._exit(1)"}, "exit code 1"),
    "hangs": ({"extra": "import time; time.sleep(600)"}, "did not answer within 2 s"),
    "has another interface": ({"extra": "del Jobs"}, "Jobs"),
    "has no answer": ({"extra": "def fail(): raise RPCError('no')\nJobs.load = fail"}, "RPCError: no"),
    "only works in the trial": (
        {"extra": "import sys\nif 'pytest' in sys.modules: raise ImportError('not again')"},
        "not again",
    ),
    "has records of another kind": ({"extra": "del Job.__dataclass_fields__\nJobs.load = lambda: {1: 2}"}, "int"),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("what", UNFIT)
def test_a_pyslurm_is_passed_over_for_good_with_a_line_in_the_log_if_it(install, job, what, caplog, tune):
    if what == "hangs":
        tune(PYSLURM_TRIAL_TIMEOUT_S=2.0)
    options, word = UNFIT[what]
    site = install(**options)
    client = PyslurmClient()
    with caplog.at_level("INFO", "hpcorch.slurm"):
        assert by_id(client.queue([job])) == by_id(CliClient().queue([job]))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "squeue is used instead of pyslurm" in line
    assert word in line
    before = imports(site)
    assert len(client.queue([job])) == 3
    assert imports(site) == before


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_another_cluster_is_asked_by_squeue_alone(install, job, name, monkeypatch):
    site = install()
    monkeypatch.setenv(name, "beta")
    assert len(PyslurmClient().queue([job])) == 3
    assert imports(site) == 0
    assert name in pyslurm_state("24.11.5")


@pytest.mark.usefixtures("at_once")
def test_a_queue_of_many_users_is_asked_by_squeue_alone(install, job, tune, caplog):
    install()
    tune(PYSLURM_MAX_RECORDS=2)
    with caplog.at_level("INFO", "hpcorch.slurm"):
        assert len(PyslurmClient().queue([job])) == 3
    assert "3 records" in caplog.text


@pytest.mark.usefixtures("at_once")
def test_a_controller_that_is_gone_is_unavailable(install, job, monkeypatch):
    install()
    client = PyslurmClient()
    client.queue([job])
    monkeypatch.setenv("PATH", "/nonexistent")
    client._environ["PATH"] = "/nonexistent"
    with pytest.raises(SlurmUnavailableError):
        client.queue([job])
    with pytest.raises(SlurmUnavailableError):
        PyslurmClient().queue([job])


@pytest.mark.usefixtures("at_once")
def test_squeue_is_asked_once_where_pyslurm_cannot_tell(install, job, monkeypatch):
    install()
    client, told = PyslurmClient(), []

    def rows(records, job_ids):
        told.append(job_ids)
        raise CannotTellError("a list that was cut short")

    with monkeypatch.context() as patch:
        patch.setattr(pyslurm_client, "rows", rows)
        assert len(client.queue([job])) == 3
    assert told == [[job]]
    monkeypatch.setattr(CliClient, "queue", None)
    assert len(client.queue([job])) == 3


@pytest.mark.usefixtures("at_once")
def test_extension_modules_that_come_later_are_loaded_as_ever(install, job):
    install(extra="import os, sys\nsys.setdlopenflags(sys.getdlopenflags() | os.RTLD_GLOBAL)")
    before = sys.getdlopenflags()
    PyslurmClient().queue([job])
    assert "pyslurm" in sys.modules
    assert sys.getdlopenflags() == before


def test_people_are_told_whether_pyslurm_suits(install):
    site = install("24.11.3")
    assert "24.11.3 suits this Slurm" in pyslurm_state("24.11.5")
    assert "not used: 24.11.3 is made for another release" in pyslurm_state("25.11.2")
    assert imports(site) == 0
