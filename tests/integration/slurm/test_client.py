"""The command-line client on the fake Slurm: the shared cases, and an sbatch that misbehaves."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hpcorch.errors import SlurmUnavailableError, SubmissionRejectedError, SubmissionUnknownError
from hpcorch.slurm.client import CliClient
from tests.support.conformance.slurm_client import Scripts, SlurmClientConformance
from tests.support.fake_cluster import sbatch_runs_out_of_time

pytestmark = pytest.mark.programs


class TestFakeSlurm(SlurmClientConformance):
    """The fake keeps the same promises as a cluster."""


@pytest.mark.parametrize("mode", ["timeout", "nonsense", "killed"])
def test_an_sbatch_without_an_answer_is_unknown_and_its_job_can_be_found(environ, folder, mode, monkeypatch):
    if mode == "timeout":
        sbatch_runs_out_of_time(monkeypatch, Path(environ["FAKE_SLURM_DIR"]))
    client = CliClient({**environ, "FAKE_SLURM_SBATCH": mode})
    scripts = Scripts(folder)
    with pytest.raises(SubmissionUnknownError, match="token"):
        client.submit(scripts.write())
    assert client.find_token(scripts.token, datetime.now(timezone.utc) - timedelta(minutes=1)) == ["1"]


def test_words_that_no_table_has_are_unknown_never_rejected(environ, folder):
    client = CliClient({**environ, "FAKE_SLURM_SBATCH": "reject:Socket timed out on send/recv operation"})
    with pytest.raises(SubmissionUnknownError, match="Socket timed out"):
        client.submit(Scripts(folder).write())


def test_a_limit_on_submissions_is_a_rejection_with_a_cure(environ, folder):
    text = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    client = CliClient({**environ, "FAKE_SLURM_SBATCH": f"reject:{text}"})
    with pytest.raises(SubmissionRejectedError, match="sacctmgr show qos"):
        client.submit(Scripts(folder).write())


def test_a_controller_that_is_down_is_unavailable(environ, folder):
    client = CliClient({**environ, "FAKE_SLURM_SBATCH": "down"})
    with pytest.raises(SlurmUnavailableError, match="scontrol ping"):
        client.submit(Scripts(folder).write())


def test_without_commands_everything_says_where_to_go(folder):
    client = CliClient({"PATH": "/nonexistent"})
    assert not client.available()
    for call in (lambda: client.submit(Scripts(folder).write()), lambda: client.queue(["1"]), client.licenses):
        with pytest.raises(SlurmUnavailableError, match="login node"):
            call()


def test_a_command_that_hangs_ends_within_its_time_limit(tmp_path, environ, tune):
    tune(SLURM_QUERY_TIMEOUT_S=0.3)
    hanging = tmp_path / "bin"
    hanging.mkdir()
    (hanging / "squeue").write_text("#!/bin/sh\nsleep 600\n")
    (hanging / "squeue").chmod(0o755)
    client = CliClient({**environ, "PATH": f"{hanging}:{environ['PATH']}"})
    before = time.monotonic()
    with pytest.raises(SlurmUnavailableError, match=r"within 0\.3 s"):
        client.queue(["1"])
    assert time.monotonic() - before < 60


def test_without_an_accounting_database_there_is_none_to_ask(environ):
    client = CliClient({**environ, "FAKE_SLURM_ACCOUNTING": "none"})
    assert client.accounting(["1"], datetime.now(timezone.utc)) is None
