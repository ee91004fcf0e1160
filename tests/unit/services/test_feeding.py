"""Feeding runs within limits, one of which may be invisible."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.model.events import FeedingPlanned
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import Backend
from hpcorch.resources.profile.profile import Pool, PoolLimits, Profile
from hpcorch.services.actions.control import dropped
from hpcorch.services.recording.submissions import Intent, SubmissionRecord
from hpcorch.services.submission import feeding
from hpcorch.services.submission.arrays import KEEPERS, ArrayPlan
from hpcorch.services.submission.feeding import Feeder
from hpcorch.services.submission.submit import SubmittedRuns
from tests.support.sweeps import make_sweep

POOL = Pool(name="few", limits=PoolLimits(max_submitted=3 + KEEPERS))


class Queue:
    """A client of a user who has no jobs there."""

    def config(self) -> SimpleNamespace:
        return SimpleNamespace(array_tasks=1001)

    def ask(self, _argv: object) -> str:
        return ""


@pytest.fixture
def feed(tmp_path, monkeypatch):
    """Feeds eight runs after Slurm refused an array of four by a limit that it does not show; the arrays' sizes."""

    def call(keys: LaunchKeys) -> tuple[list[int], int]:
        sweep = make_sweep(tmp_path, [[f"x={run}"] for run in range(8)], backend=Backend.SLURM)
        refused = SubmissionRecord.next(sweep.journal)
        refused.intend(Intent(launch=0, runs=range(4), backend=Backend.SLURM))
        refused.mark_rejected("too many jobs", limited=True)
        sweep.record(FeedingPlanned(launch=0, max_submit=None))
        monkeypatch.setattr(feeding, "submit_array", _submitted)
        feeder = Feeder(
            journal=sweep.journal,
            launch=0,
            client=Queue(),
            profile=Profile(pools={"few": POOL}, headroom=0),
            keys=keys,
            request=_itself,
        )
        fed = feeder.feed(dict.fromkeys(range(8), keys), alone=True)
        return [len(array.runs) for array in fed.arrays], fed.waiting

    return call


def _submitted(_journal: ControlJournal, portion: ArrayPlan, _client: object) -> SubmittedRuns:
    return SubmittedRuns(launch=0, runs=portion.runs, job_id="1")


def _itself(portion: ArrayPlan) -> ArrayPlan:
    return portion


def test_after_a_refusal_by_a_limit_that_nobody_sees_arrays_are_smaller(feed):
    assert feed(LaunchKeys()) == ([2, 2, 2, 2], 0)


def test_a_pools_limit_holds_beside_one_that_nobody_sees(feed):
    assert feed(LaunchKeys(pool="few")) == ([2, 1], 5)


def test_several_arrays_are_on_record_as_waiting_before_the_first_is_submitted(tmp_path, monkeypatch):
    told = []
    sweep = make_sweep(tmp_path, backend=Backend.SLURM)

    def submit(journal: ControlJournal, portion: ArrayPlan, _client: object) -> str:
        told.append((portion.runs, dict(journal.history().feeding)))
        return _submitted(journal, portion, _client)

    monkeypatch.setattr(feeding, "submit_array", submit)
    feeder = Feeder(
        journal=sweep.journal, launch=0, client=Queue(), profile=Profile(), keys=LaunchKeys(), request=_itself
    )
    feeder.feed({0: LaunchKeys(), 1: LaunchKeys(gpus_per_node=1)}, alone=True)
    assert told == [((0,), {0: None}), ((1,), {0: None})]


def test_runs_that_somebody_else_submitted_or_gave_up_meanwhile_are_left_out(tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path, [[f"x={run}"] for run in range(4)], backend=Backend.SLURM)
    other = SubmissionRecord.next(sweep.journal)
    other.intend(Intent(launch=0, runs=(0, 1), backend=Backend.SLURM))
    sweep.record(*dropped([2], "cancelled before it was submitted"))
    monkeypatch.setattr(feeding, "submit_array", _submitted)
    feeder = Feeder(
        journal=sweep.journal, launch=0, client=Queue(), profile=Profile(), keys=LaunchKeys(), request=_itself
    )
    fed = feeder.feed(dict.fromkeys(range(4), LaunchKeys()), alone=True)
    assert [list(array.runs) for array in fed.arrays] == [[3]]
