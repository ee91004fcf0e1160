"""What the client that asks pyslurm owes: the cases of every client, and the rows of squeue.

A test class inherits :class:`PyslurmConformance` and provides the fixtures of its base; ``environ`` becomes this
process's environment, for which pyslurm speaks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from hpcorch.model.job_states import JobState
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.pyslurm.client import PyslurmClient
from tests.support.conformance.slurm_client import SlurmClientConformance, states
from tests.support.tuning import Tune
from tests.support.waiting import wait_until

_ask_squeue = CliClient.queue


def agree(client: PyslurmClient, job_ids: list[str]) -> None:
    """Wait until both ways tell the same: one may have been asked a moment before something happened."""
    wait_until(lambda: by_id(client.queue(job_ids)) == by_id(_ask_squeue(client, job_ids)))
    assert client.queue(job_ids)


def by_id(rows: list) -> list:
    return sorted(rows, key=lambda row: row.job_id)


class PyslurmConformance(SlurmClientConformance):
    """The cases, none of which may fall back on squeue."""

    @pytest.fixture
    def client(self, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> PyslurmClient:
        def refuse(self: CliClient, job_ids: list[str]) -> list:
            assert not job_ids, "squeue was asked"
            return []

        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(CliClient, "queue", refuse)
        Tune(monkeypatch)(PYSLURM_FROM_QUERIES=0, PYSLURM_MAX_RECORDS=sys.maxsize)  # other tests may have left many
        return PyslurmClient()

    def test_the_rows_are_those_of_squeue(self, client, submit):
        held = submit(array="0-5", comment="words, a|pipe and é")
        client.cancel([f"{held}_[2,4]"])
        ended = submit("exit $SLURM_ARRAY_TASK_ID", array="0,3", hold=False)
        running = submit("exec sleep 600", array="0-1", hold=False)
        single, lone = submit(array=None), submit(array="7")
        wait_until(lambda: states(client, ended) == [JobState.COMPLETED, JobState.FAILED])
        wait_until(lambda: states(client, running) == [JobState.RUNNING] * 2)
        jobs = [held, ended, running, single, lone]
        for asked in (jobs, *([job] for job in jobs), ["999999", held]):
            agree(client, asked)
