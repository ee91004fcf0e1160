"""Ranks other than 0 of a multi-task run: they wait for rank 0, call the same function, and record nothing.

Rank 0 alone journals, makes the run's directory and reports the result, since a directory and a set of logs
for each rank is what users of MPI and torch.distributed under Hydra suffer from.
"""

from __future__ import annotations

import signal
import time

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from hpcorch.model.events import AttemptCalled, AttemptEnded
from hpcorch.runtime.claim import read_attempt
from hpcorch.runtime.execute import EXIT_FAILED, EXIT_SIGNAL_BASE, exit_code
from hpcorch.runtime.output import say, show_error
from hpcorch.runtime.place import Place
from hpcorch.runtime.prepare import prepare
from hpcorch.runtime.seeding import seed_libraries
from hpcorch.runtime.signals import SignalOwner, Stopped

# A network file system may show rank 0's journal late, and importing the user's modules takes minutes there.
LEADER_WAIT_S = 1800.0


def follow(place: Place, signals: SignalOwner) -> int:
    """Execute the run as a rank other than 0 and return the exit code for srun."""
    try:
        with signals.stops_raise():
            said = _leader_said(place)
            if said is None:
                say(f"rank {place.rank} saw nothing of rank 0 for {LEADER_WAIT_S:g} s and ends")
                return EXIT_FAILED
            if isinstance(said, AttemptEnded):
                return said.exit_code
            return _call(place)
    except Stopped as stop:
        return EXIT_SIGNAL_BASE + signal.Signals[stop.name].value


def _leader_said(place: Place) -> AttemptCalled | AttemptEnded | None:
    """Rank 0's word that the call begins, or that there will be none; None if it never came."""

    def look() -> AttemptCalled | AttemptEnded | None:
        facts = (event.fact for event in read_attempt(place.layout, place.attempt))
        return next((fact for fact in facts if isinstance(fact, (AttemptCalled, AttemptEnded))), None)

    waiting = Retrying(
        retry=retry_if_result(lambda said: said is None),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        stop=stop_after_delay(LEADER_WAIT_S),
        sleep=time.sleep,
    )
    try:
        return waiting(look)
    except RetryError:
        return None


def _call(place: Place) -> int:
    from hpcorch.runtime.call import call_task

    prepared = prepare(place)
    seed_libraries(prepared.frozen.run.seed)
    called = call_task(prepared.task, prepared.config)
    if called.error is None:
        return 0
    show_error(called.error)
    return exit_code(called.error)
