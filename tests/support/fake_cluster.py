"""The state of the fake Slurm, for tests that look behind its commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.waiting import wait_until


class FakeCluster:
    """What the fake Slurm has in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def jobs(self) -> dict[str, Any]:
        path = self.folder / "jobs.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def with_token(self, token: str) -> list[str]:
        return [name for name, job in self.jobs().items() if token in job["flags"]["comment"]]

    def started(self) -> list[str]:
        path = self.folder / "started"
        return sorted(path.read_text().split(), key=int) if path.exists() else []

    def forget(self, job_id: str) -> None:
        jobs = self.jobs()
        del jobs[job_id]
        (self.folder / "jobs.json").write_text(json.dumps(jobs))

    def wait_until_idle(self) -> None:
        wait_until(lambda: not self._waiting_or_running())

    def _waiting_or_running(self) -> bool:
        tasks = [task for job in self.jobs().values() for task in job["tasks"].values()]
        return any(task["state"] in ("PENDING", "RUNNING") for task in tasks)


def sbatch_runs_out_of_time(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The time limit of an sbatch of this process is over as soon as the fake Slurm has its first job."""

    def is_meant(words: list[str]) -> bool:
        return Path(words[0]).name == "sbatch" and "--test-only" not in words

    processes.run_out_of_time(monkeypatch, is_meant, once=(folder / "jobs.json").exists)
