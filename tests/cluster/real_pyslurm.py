"""The cases of the client over pyslurm on the real daemons; test_pyslurm_client.py runs this as an ordinary user.

Pytest does not collect it by itself: it needs a pyslurm that is made for the Slurm that runs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import pytest

from hpcorch import tunables
from hpcorch.model.job_states import JobState
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.pyslurm.client import PyslurmClient
from tests.support.conformance.pyslurm_client import PyslurmConformance, agree, by_id
from tests.support.conformance.slurm_client import states
from tests.support.fake_pyslurm import pyslurm as fake
from tests.support.waiting import wait_until

_ENVIRON = dict(os.environ)  # before any fixture removes what tells Slurm's library where the cluster is


@pytest.fixture
def environ() -> Mapping[str, str]:
    return {"SLURM_CONF": _ENVIRON["SLURM_CONF"]}


@pytest.fixture
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="sweep dir ", dir=_ENVIRON["CONFORMANCE_FOLDER"]))


class TestRealPyslurm(PyslurmConformance):
    """pyslurm and the daemons keep the same promises as their fakes."""

    def test_the_pretended_pyslurm_has_what_the_real_one_has(self, client, submit):
        held, running = submit(array="0-3"), submit("exec sleep 600", array="0-1", hold=False)
        single = submit(array=None)
        wait_until(lambda: states(client, running) == [JobState.RUNNING] * 2)
        import pyslurm

        hints = get_type_hints(fake.Job)
        records = [
            {name: getattr(job, name) for name in hints}
            for job in pyslurm.Jobs.load().values()
            if str(job.array_id or job.id) in (held, running, single)
        ]
        assert len(records) == 4
        for record in records:
            assert all(isinstance(record[name], kind) for name, kind in hints.items()), record
            fake.Job(**record)
        told = {(str(r["array_id"]), r["array_task_id"], r["array_tasks_waiting"]) for r in records}
        assert told == {(held, None, "0-3"), (running, None, None), (running, 1, None), ("None", None, None)}
        assert issubclass(pyslurm.RPCError, pyslurm.PyslurmError)

    def test_elements_and_raw_ids_have_the_rows_of_squeue(self, client, submit):
        held, running = submit(array="0-3"), submit("exec sleep 600", array="0-1", hold=False)
        wait_until(lambda: states(client, running) == [JobState.RUNNING] * 2)
        raw = next(row.raw_id for row in client.queue([running]) if row.raw_id != running)
        for asked in ([f"{held}_1", f"{held}_3"], [f"{running}_0"], [raw], [f"{held}_9", running]):
            agree(client, asked)

    def test_an_element_0_that_waits_again_has_the_row_of_squeue(self, client, submit):
        job_id = submit("exec sleep 600", array="0,2", hold=False)
        wait_until(lambda: states(client, job_id) == [JobState.RUNNING] * 2)
        client.requeue([f"{job_id}_0"])
        wait_until(lambda: states(client, job_id) == [JobState.PENDING, JobState.RUNNING])
        agree(client, [job_id])


@pytest.mark.parametrize("array", ["0", ",".join(str(n * n) for n in range(30))])
def test_what_pyslurm_does_not_say_is_as_squeue_says_it(environ, folder, monkeypatch, array):
    monkeypatch.setenv("SLURM_CONF", environ["SLURM_CONF"])
    script = folder / "job.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --array={array} --hold --output=/dev/null\ntrue\n")
    monkeypatch.setattr(tunables, "PYSLURM_FROM_QUERIES", 0)
    client = PyslurmClient()
    job_id = client.submit(script).job_id
    assert by_id(client.queue([job_id])) == by_id(CliClient().queue([job_id]))
    client.cancel([job_id])
    wait_until(lambda: all(row.state is JobState.CANCELLED for row in client.queue([job_id])))
    assert by_id(client.queue([job_id])) == by_id(CliClient().queue([job_id]))
