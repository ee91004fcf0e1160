"""Which run and which attempt a command is, and the journal that it has.

In a job of `hpcorch sbatch` it is a step of the attempt that the script is. Elsewhere it is a sweep of one run of
its own. Of a command that srun starts once for each rank, rank 0 finds or makes the run, and the others go along:
they get the seed and the checkpoint folder of the same run, and wait for rank 0's word that it starts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.project_search import default_ledger
from hpcorch.model.events import AttemptCalled
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.claim import claim_of, read_attempt
from hpcorch.runtime.context.held_signals import HeldSignals
from hpcorch.runtime.context.place import Place, place_in
from hpcorch.services.exec.journals import CommandJournal, StepJournal, no_journal
from hpcorch.services.exec.process import Limits
from hpcorch.services.exec.script_step import script_attempt
from hpcorch.services.exec.time_limit import Treatment
from hpcorch.slurm.job_environment import Job

if TYPE_CHECKING:
    from hpcorch.services.exec.own_sweep import Order

HASH_SEED = "PYTHONHASHSEED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How `hpcorch exec` was called.

    :param argv: the command
    :param terms: of the leases that it holds, as manifests have them
    :param ledger: that a sweep of its own is announced to; None for the one that serves the working directory
    """

    argv: tuple[str, ...]
    treatment: Treatment
    terms: Mapping[str, Mapping[str, Any]]
    ledger: Path | None = None

    @property
    def ledger_path(self) -> Path:
        return self.ledger or default_ledger(Path.cwd())

    @property
    def order(self) -> Order:
        """What is recorded of it where it is a sweep of its own."""
        from hpcorch.services.exec.own_sweep import Order  # steps do without

        treatment = self.treatment
        return Order(
            argv=self.argv,
            flags=treatment.flags,
            name=treatment.name or Path(self.argv[0]).name.encode("utf-8", "backslashreplace").decode(),
            cwd=Path.cwd(),
            environ={HASH_SEED: "0", **os.environ},
            leases={name: dict(terms) for name, terms in self.terms.items()},
            options=treatment.options,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The attempt that a command is, or is a step of. It is claimed, at the latest by its first fact.

    :param is_step: Slurm tells how the attempt ends
    :param is_first: the first step of it
    :param limits: as rank 0 has told the others; None if this process is to find out
    """

    place: Place
    journal: CommandJournal
    is_step: bool = False
    is_first: bool = False
    limits: Limits | None = None


def begin_command(call: Call, job: Job | None, signals: HeldSignals) -> Begun:
    """Find or make the run that a command is of, and claim its attempt.

    :raises RecordError: the command cannot be recorded
    :raises UnavailableError: likewise, or as another rank than 0: rank 0 did not begin
    :raises Stopped: a signal that asks to end arrived before the attempt was claimed
    """
    with signals.stops_raise():
        mine = None if job is None else script_attempt(os.environ, job)
        if job is not None and job.rank > 0:
            return _following(call, job, mine)
    if mine is not None and job is not None:
        journal = StepJournal(mine.layout, mine.attempt, lambda: claim_of(mine, None), ranks=job.ranks)
        return Begun(place=mine, journal=journal, is_step=True, is_first=not journal.is_claimed)
    from hpcorch.services.exec.own_sweep import begin_own  # steps do without

    place, writer = begin_own(call.ledger_path, call.order, job, signals)
    return Begun(place=place, journal=CommandJournal(writer))


def _following(call: Call, job: Job, mine: Place | None) -> Begun:
    if mine is not None:
        attempt, launch = mine.attempt, mine.launch
        layout, limits = _led(call, job, attempt, lambda: [mine.layout])
    else:
        from hpcorch.services.exec.own_sweep import attempt_in, recorded_for

        attempt = attempt_in(job)
        launch, ledger, order = attempt.run, call.ledger_path, call.order
        layout, limits = _led(call, job, attempt, lambda: recorded_for(ledger, order, job))
    place = place_in(layout, attempt, launch, job)
    return Begun(place=place, journal=no_journal(), is_step=mine is not None, limits=limits)


def _led(
    call: Call, job: Job, attempt: AttemptId, candidates: Callable[[], Iterable[SweepLayout]]
) -> tuple[SweepLayout, Limits]:
    """Where rank 0 has recorded the command, and what bounds the life of it.

    :param candidates: gives the sweeps that rank 0 may record it in
    :raises UnavailableError: rank 0 did not begin
    """
    from hpcorch.runtime.context.ranks import await_leader  # most commands have one rank

    def look() -> tuple[SweepLayout, AttemptCalled] | None:
        for layout in candidates():
            for event in read_attempt(layout, attempt):
                if isinstance(event.fact, AttemptCalled) and event.fact.step == job.step:
                    return layout, event.fact
        return None

    # Rank 0 may wait for a lease as long as it takes.
    found = await_leader(look, wait_s=math.inf if call.terms else tunables.RANKS_WAIT_S)
    if found is None:
        raise UnavailableError(
            f"rank 0 of step {job.step} of job {job.element} has not begun for {tunables.RANKS_WAIT_S:g} s, so rank"
            f" {job.rank} does not know which run it belongs to: nothing was executed. `hpcorch exec -- srun …`"
            " needs no agreement"
        )
    layout, called = found
    return layout, Limits(grace_s=call.treatment.grace_s, warn_at=called.warn_at, kill_at=called.kill_at)
