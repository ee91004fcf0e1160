"""What every test gets: an environment in which no job, cluster or ledger of the person at the keyboard shows.

And what every test leaves: nothing, so that one that fails does not fail another.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Examples are judged by what they show and never by how long they take: the machine may be busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest.register_assert_rewrite("tests.support")  # their assertions explain themselves as those of tests do

from tests.support import processes  # noqa: E402 - after that
from tests.support.tuning import Tune  # noqa: E402

# Slurm's commands and hpcorch take defaults from variables that begin so.
_FOREIGN = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "HYDRA_", "HPCORCH_LEDGER")


@pytest.fixture(scope="session", autouse=True)
def clean_session() -> Iterator[None]:
    """What tests share is made in a clean environment, too."""
    with pytest.MonkeyPatch.context() as patch:
        _clean(patch)
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables that would make a test depend on where it runs, or on the tests before it."""
    _clean(monkeypatch)


def _clean(patch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            patch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def signals_that_arrive() -> None:
    """Programs that tests start get the signals that are sent to them: `nohup` and `&` of scripts ignore some."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A test that leaves signals blocked would break those of later tests that send some: it fails itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert after == before, f"this test left blocked: {sorted(after - before)}"


@pytest.fixture(autouse=True)
def no_processes_left() -> Iterator[None]:
    """What a test has started ends with it, even if it fails."""
    yield
    processes.end_all()


@pytest.fixture(autouse=True)
def no_version_of_hydra_chosen() -> Iterator[None]:
    """Which version Hydra behaves as is a setting of the process, and a test's choice is none of the next one's."""
    yield
    if (hydra := sys.modules.get("hydra.version")) is not None:
        hydra.VersionBase.instance().__init__()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let go of what a failed test had open, which else would be closed in the midst of another, with a warning."""
    failed_before = item.session.testsfailed
    result = yield
    if item.session.testsfailed > failed_before:
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            if hasattr(sys, name):
                delattr(sys, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return result


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Tune:
    """``tune(NAME=value)``: other times and sizes in this process."""
    return Tune(monkeypatch)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the project's sources."""
    return Path(__file__).resolve().parent.parent
