"""Waiting for a sweep: it ends when nothing more is expected, and outlasts those who do not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcorch.errors import SlurmUnavailableError, UnavailableError
from hpcorch.model.states import RunState
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.services.tending.wait import Pauses, wait_for_runs
from tests.support.tuning import Tune


class Counted:
    """A ledger of a sweep whose record is gone, so that nothing of it can be run again."""

    path = Path("/.hpcorch/ledger.db")

    def __init__(self, reconciler: Scripted) -> None:
        self.reconciler = reconciler

    def counts(self, sweep: str) -> Mapping[RunState, int]:
        return self.reconciler.left[0]

    def launches(self, sweep: str) -> list[Any]:
        return []

    def sweep(self, sweep: str) -> Any:
        return SimpleNamespace(sweep=SimpleNamespace(id="s", directory="/nowhere", project="/"))

    def facts(self, sweep: str, kind: type[Any]) -> list[Any]:
        return []

    def events_of(self, sweep: str, kind: type[Any]) -> list[Any]:
        return []

    def is_open(self, sweep: str) -> bool:
        return True


class Scripted:
    """A reconciler whose ledger's counts change from look to look."""

    sweep = "s"

    def __init__(self, *counts: Mapping[RunState, int]) -> None:
        self.ledger = Counted(self)
        self.left = list(counts)
        self.asked = 0

    def ingest(self) -> None:
        if len(self.left) > 1:
            self.left.pop(0)
            raise UnavailableError("the manifest cannot be read")

    def ask(self, question: Callable[[Any], Any]) -> Any:
        return question(self.ledger)

    def ask_slurm(self, client: Any) -> None:
        self.asked += 1
        raise SlurmUnavailableError("the controller is down")


@pytest.fixture(autouse=True)
def no_pauses(tune: Tune) -> None:
    tune(JOURNAL_PAUSES_S=(0.0, 0.0))
    tune(SLURM_PAUSES_S=(0.0, 0.0))


def shown(reconciler: Scripted, told: list[TendResult] | None = None) -> list[Mapping[RunState, int]]:
    seen: list[Mapping[RunState, int]] = []
    tell = [] if told is None else told
    wait_for_runs(reconciler, None, seen.append, tell.append)  # type: ignore[arg-type]
    return seen


def test_waiting_outlasts_a_file_server_and_a_controller_that_do_not_answer() -> None:
    running, over = {RunState.RUNNING: 2}, {RunState.COMPLETED: 1, RunState.FAILED: 1}
    reconciler, told = Scripted(running, running, running, over), list[TendResult]()
    assert shown(reconciler, told)[-1] == over
    assert reconciler.asked == 2
    assert {sentence for one in told for sentence in one.sentences} == {
        "sweep s could not be tended: the manifest cannot be read"
    }


def test_runs_that_slurm_refused_are_not_waited_for() -> None:
    assert shown(Scripted({RunState.PLANNED: 3, RunState.COMPLETED: 1})) != []


def test_pauses_grow_to_their_limit_with_jitter_and_begin_again() -> None:
    pauses = Pauses(first_s=1, limit_s=4)
    lengths = [pauses.take() for _ in range(10)]
    assert 0.5 <= lengths[0] <= 1
    assert all(2 <= length <= 4 for length in lengths[5:])
    pauses.reset()
    assert pauses.take() <= 1
