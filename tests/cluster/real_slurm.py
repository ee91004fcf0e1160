"""The shared cases on the real daemons; test_slurm_client.py runs this file as an ordinary user.

Pytest does not collect it by itself: it needs a user who may submit, and Slurm's commands on PATH.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.conformance.slurm_client import SlurmClientConformance
from tests.support.waiting import wait_until

_ENVIRON = dict(os.environ)  # before any fixture removes what tells the commands where the cluster is


@pytest.fixture
def environ() -> Mapping[str, str]:
    return _ENVIRON


@pytest.fixture
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="sweep dir ", dir=_ENVIRON["CONFORMANCE_FOLDER"]))


class TestRealSlurm(SlurmClientConformance):
    """The cluster keeps the same promises as the fake."""

    def test_every_one_of_many_scattered_elements_is_told(self, client, submit, since):
        scattered = [n * n for n in range(1, 31)]
        job_id = submit(array=",".join(map(str, scattered)))
        assert sorted(row.index for row in client.queue([job_id])) == scattered
        client.hold([job_id])
        wait_until(lambda: sorted(row.index for row in client.accounting([job_id], since)) == scattered)
