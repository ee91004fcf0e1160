"""Every fact that hpcorch records, one frozen class each.

An :class:`Event` is a fact with its place: the sweep, the source (the file that it was written to) and its
sequence number there. That triple is its identity, so reading a file twice adds nothing. Sources are

* ``control``: the sweep's control journal, written on the login side under the sweep's lock;
* ``launch-<first run>``: the manifest of one launch;
* ``<run>.s<submission>.r<restart>``: the journal of one attempt, written on the compute node;
* ``ledger``: what became of the sweep directory, and of runs after it was gone. Only the ledger has it.

Times are for people. Order is (submission, restart, sequence), since the clocks of hosts differ.
A fact that this version does not understand is kept as :class:`UnknownFact`: a newer version may have written it,
and it must survive being read by an older one.

The classes are in the modules of this package, which are loaded when one of their names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcorch.model.events.base import CONTROL_SOURCE as CONTROL_SOURCE
from hpcorch.model.events.base import KINDS as KINDS
from hpcorch.model.events.base import LEDGER_SOURCE as LEDGER_SOURCE
from hpcorch.model.events.base import NO_SUBMISSION as NO_SUBMISSION
from hpcorch.model.events.base import Event as Event
from hpcorch.model.events.base import Fact as Fact
from hpcorch.model.events.base import UnknownFact as UnknownFact
from hpcorch.model.events.base import fact_class as fact_class
from hpcorch.model.events.base import from_body as from_body
from hpcorch.model.events.base import is_integer as is_integer
from hpcorch.model.events.base import kind_of as kind_of
from hpcorch.model.events.base import to_body as to_body

if TYPE_CHECKING:
    from hpcorch.model.events.attempt import AttemptCalled as AttemptCalled
    from hpcorch.model.events.attempt import AttemptClaimed as AttemptClaimed
    from hpcorch.model.events.attempt import AttemptEnded as AttemptEnded
    from hpcorch.model.events.attempt import AttemptSeeded as AttemptSeeded
    from hpcorch.model.events.attempt import AttemptSignalled as AttemptSignalled
    from hpcorch.model.events.attempt import AttemptVerified as AttemptVerified
    from hpcorch.model.events.attempt import DriftFound as DriftFound
    from hpcorch.model.events.attempt import EnvironmentFound as EnvironmentFound
    from hpcorch.model.events.checkpoint import CheckpointAbsent as CheckpointAbsent
    from hpcorch.model.events.checkpoint import CheckpointFailed as CheckpointFailed
    from hpcorch.model.events.checkpoint import CheckpointRejected as CheckpointRejected
    from hpcorch.model.events.checkpoint import CheckpointRestored as CheckpointRestored
    from hpcorch.model.events.checkpoint import CheckpointSaved as CheckpointSaved
    from hpcorch.model.events.command import CommandEnded as CommandEnded
    from hpcorch.model.events.command import CommandStarted as CommandStarted
    from hpcorch.model.events.directory import DirectoryMoved as DirectoryMoved
    from hpcorch.model.events.directory import DirectoryRemoved as DirectoryRemoved
    from hpcorch.model.events.planning import BasePlanned as BasePlanned
    from hpcorch.model.events.planning import CodeFrozen as CodeFrozen
    from hpcorch.model.events.planning import EnvironmentFrozen as EnvironmentFrozen
    from hpcorch.model.events.planning import FeedingPlanned as FeedingPlanned
    from hpcorch.model.events.planning import LaunchPlanned as LaunchPlanned
    from hpcorch.model.events.planning import RerunPlanned as RerunPlanned
    from hpcorch.model.events.planning import RunPlanned as RunPlanned
    from hpcorch.model.events.planning import RunReproduced as RunReproduced
    from hpcorch.model.events.planning import RunReused as RunReused
    from hpcorch.model.events.planning import SweepCreated as SweepCreated
    from hpcorch.model.events.resources import InputRecorded as InputRecorded
    from hpcorch.model.events.resources import LeaseReported as LeaseReported
    from hpcorch.model.events.resources import MetricsLogged as MetricsLogged
    from hpcorch.model.events.resources import MetricsSummarised as MetricsSummarised
    from hpcorch.model.events.scheduler import ControlRequested as ControlRequested
    from hpcorch.model.events.scheduler import JobObserved as JobObserved
    from hpcorch.model.events.submission import KeeperSubmitted as KeeperSubmitted
    from hpcorch.model.events.submission import SubmissionAccepted as SubmissionAccepted
    from hpcorch.model.events.submission import SubmissionIntended as SubmissionIntended
    from hpcorch.model.events.submission import SubmissionRejected as SubmissionRejected
    from hpcorch.model.events.submission import SubmissionReleased as SubmissionReleased
    from hpcorch.model.events.submission import SubmissionUnknown as SubmissionUnknown


def __getattr__(name: str) -> Any:
    """Load the module of a fact when the fact is first named."""
    kind = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
    if kind not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = fact_class(kind)
    return found
