"""Ranks other than 0 of a multi-task run: they wait for rank 0, call the same function, and record nothing.

Rank 0 alone journals, makes the run's directory and reports the result, since a directory and a set of logs
for each rank is what users of MPI and torch.distributed under Hydra suffer from.
"""

from __future__ import annotations

import os
import signal

from hpcorch import tunables
from hpcorch.model.events import AttemptCalled, AttemptEnded
from hpcorch.model.signals import EXIT_SIGNAL_BASE
from hpcorch.runtime.attempt.execute import EXIT_FAILED, exit_code
from hpcorch.runtime.attempt.prepare import prepare
from hpcorch.runtime.context.output import say, show_error
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.ranks import leader_said
from hpcorch.runtime.context.signals import SignalOwner, Stopped
from hpcorch.runtime.run.run import as_current
from hpcorch.runtime.run.seeding import seed_libraries


def follow(place: Place, signals: SignalOwner) -> int:
    """Execute the run as a rank other than 0 and return the exit code for srun."""
    try:
        with signals.stops_raise():
            said = leader_said(place, AttemptCalled, AttemptEnded)
            if said is None:
                say(f"rank {place.rank} saw nothing of rank 0 for {tunables.LEADER_WAIT_S:g} s and ends")
                return EXIT_FAILED
            if isinstance(said, AttemptEnded):
                return said.exit_code
            return _call(place, signals)
    except Stopped as stop:
        from hpcorch.runtime.attempt.lingering import linger_behind

        linger_behind(place)
        return EXIT_SIGNAL_BASE + signal.Signals[stop.name].value


def _call(place: Place, signals: SignalOwner) -> int:
    from hpcorch.runtime.program.call import call_task
    from hpcorch.runtime.run.active import ActiveRun

    prepared = prepare(place)
    seed_libraries(prepared.frozen.run.seed)
    run = ActiveRun(place, prepared.frozen, signals, journal=None)
    os.register_at_fork(after_in_child=run.leave)
    with as_current(run):
        called = call_task(prepared.task, prepared.config)
    if called.error is None and run.was_told_to_stop:
        raise Stopped(signals.stopped_by or signal.SIGTERM.name)
    if called.error is None:
        return 0
    show_error(called.error)
    signals.look_for_stop()
    if signals.stopped_by is not None:  # a consequence of being stopped, as on rank 0
        raise Stopped(signals.stopped_by)
    return exit_code(called.error)
