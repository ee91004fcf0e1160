"""What a job loads before it calls the task: each module costs every run of every sweep."""

from __future__ import annotations

import pytest

from tests.support.apps import App, make_app

pytestmark = pytest.mark.programs

APP = """
import sys

import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    return sorted(sys.modules)


if __name__ == "__main__":
    main()
"""
# Libraries of the launcher and the command line, and parts of Python that take long.
HEAVY = {
    *("asyncio", "click", "concurrent.futures", "csv", "difflib", "filelock", "http", "importlib.metadata"),
    *("psutil", "rich", "secrets", "sqlite3", "sqlite_utils", "ssl", "submitit", "tenacity", "unittest"),
}
# Of hpcorch what is for other processes, for attempts with others before them, for checkpoints, leases and metrics.
OTHERS = (
    *("hpcorch.api", "hpcorch.cli", "hpcorch.ledger", "hpcorch.services", "hpcorch.resources"),
    *("hpcorch.model.folding", "hpcorch.runtime.checkpoint"),
    *("hpcorch.journal.archives", "hpcorch.journal.reader", "hpcorch.journal.snapshots"),
    *("hpcorch.model.events.checkpoint", "hpcorch.model.events.command", "hpcorch.model.events.resources"),
    *("hpcorch.model.events.scheduler", "hpcorch.model.events.submission"),
)
MOST_OF_OURS = 79


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> set[str]:
    """The modules that are loaded at the task's first statement, in a run that finds its code unpacked."""
    app: App = make_app(tmp_path_factory.mktemp("start") / "project", "hpcorch_local")
    (app.folder / "app.py").write_text(APP)
    assert app.launch("x=1,2", "hydra.launcher.slots=1").returncode == 0
    _, run = app.runs()
    return set(run.result)


def test_a_job_loads_nothing_that_it_does_not_need(loaded):
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith(OTHERS)} == set()


def test_a_job_loads_few_modules_of_hpcorch(loaded):
    ours = sorted(name for name in loaded if name.partition(".")[0] == "hpcorch")
    assert len(ours) <= MOST_OF_OURS, " ".join(ours)
