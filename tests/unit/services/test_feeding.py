"""Feeding runs within limits, one of which may be invisible."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpcorch.journal.history import ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.states import SubmissionState
from hpcorch.resources.profile.profile import Pool, PoolLimits, Profile
from hpcorch.services.submission import feeding
from hpcorch.services.submission.arrays import KEEPERS, ArrayPlan
from hpcorch.services.submission.feeding import Feeder

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

    def call(keys: dict[str, object]) -> tuple[list[int], int]:
        refused = Submission(
            sweep="s",
            submission=0,
            launch=0,
            runs=(0, 1, 2, 3),
            token="0" * 32,
            backend="slurm",
            script="0.sbatch",
            state=SubmissionState.REJECTED,
            intended_at="2026-01-01T12:00:00.000000Z",
        )
        history = ControlHistory(
            submissions={0: refused}, observed={}, requests=[], changed={}, limited={0}, feeding={0: None}
        )
        monkeypatch.setattr(feeding, "read_history", lambda *_: history)
        monkeypatch.setattr(feeding, "submit_array", lambda _layout, portion, _client: f"job{portion.runs[0]}")
        feeder = Feeder(
            layout=SweepLayout(tmp_path),
            sweep="s",
            launch=0,
            client=Queue(),
            profile=Profile(pools={"few": POOL}, headroom=0),
            keys=keys,
            request=_itself,
        )
        fed = feeder.feed([(run, {}) for run in range(8)], alone=True)
        return [len(runs) for _, runs in fed.arrays], fed.waiting

    return call


def _itself(portion: ArrayPlan) -> ArrayPlan:
    return portion


def test_after_a_refusal_by_a_limit_that_nobody_sees_arrays_are_smaller(feed):
    assert feed({}) == ([2, 2, 2, 2], 0)


def test_a_pools_limit_holds_beside_one_that_nobody_sees(feed):
    assert feed({"pool": "few"}) == ([2, 1], 5)


def test_several_arrays_are_on_record_as_waiting_before_the_first_is_submitted(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        feeding, "read_history", lambda *_: ControlHistory(submissions={}, observed={}, requests=[], changed={})
    )
    monkeypatch.setattr(Feeder, "_plan_feeding", lambda _self, limit, history: told.append(limit) or history)
    monkeypatch.setattr(feeding, "submit_array", lambda _layout, portion, _client: told.append(portion.runs) or "1")
    layout = SweepLayout(tmp_path)
    layout.lock.parent.mkdir(parents=True)
    feeder = Feeder(layout=layout, sweep="s", launch=0, client=Queue(), profile=Profile(), keys={}, request=_itself)
    feeder.feed([(0, {}), (1, {"gpus_per_node": 1})], alone=True)
    assert told == [None, (0,), (1,)]
