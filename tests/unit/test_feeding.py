"""Feeding runs within limits, one of which may be invisible."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.states import SubmissionState
from hpcorch.resources.profile import Pool, PoolLimits, Profile
from hpcorch.services import feeding
from hpcorch.services.feeding import Feeder
from hpcorch.services.past import Past
from hpcorch.services.portions import KEEPERS, Portion

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
            batch=0,
            runs=(0, 1, 2, 3),
            token="0" * 32,
            backend="slurm",
            script="0.sbatch",
            state=SubmissionState.REJECTED,
            intended_at="2026-01-01T12:00:00.000000Z",
        )
        past = Past(submissions={0: refused}, observed={}, requests=[], changed={}, limited={0}, feeding={0: None})
        monkeypatch.setattr(feeding, "read_past", lambda *_: past)
        monkeypatch.setattr(feeding, "submit_array", lambda _layout, portion, _client: f"job{portion.runs[0]}")
        feeder = Feeder(
            layout=SweepLayout(tmp_path),
            sweep="s",
            batch=0,
            client=Queue(),
            profile=Profile(pools={"few": POOL}, headroom=0),
            keys=keys,
            request=_itself,
        )
        fed = feeder.feed([(run, {}) for run in range(8)], alone=True)
        return [len(runs) for _, runs in fed.arrays], fed.waiting

    return call


def _itself(portion: Portion) -> Portion:
    return portion


def test_after_a_refusal_by_a_limit_that_nobody_sees_arrays_are_smaller(feed):
    assert feed({}) == ([2, 2, 2, 2], 0)


def test_a_pools_limit_holds_beside_one_that_nobody_sees(feed):
    assert feed({"pool": "few"}) == ([2, 1], 5)


def test_several_arrays_are_on_record_as_waiting_before_the_first_is_submitted(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(feeding, "read_past", lambda *_: Past(submissions={}, observed={}, requests=[], changed={}))
    monkeypatch.setattr(Feeder, "_plan_feeding", lambda _self, limit, past: told.append(limit) or past)
    monkeypatch.setattr(feeding, "submit_array", lambda _layout, portion, _client: told.append(portion.runs) or "1")
    layout = SweepLayout(tmp_path)
    layout.lock.parent.mkdir(parents=True)
    feeder = Feeder(layout=layout, sweep="s", batch=0, client=Queue(), profile=Profile(), keys={}, request=_itself)
    feeder.feed([(0, {}), (1, {"gpus_per_node": 1})], alone=True)
    assert told == [None, (0,), (1,)]
