"""Which run and which attempt a command is, and the record that it gets."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch.journal.layout import default_ledger
from hpcorch.journal.manifest import read_header
from hpcorch.model.events import AttemptClaimed
from hpcorch.runtime.context.place import cpu_count, log_file
from hpcorch.services.commands.job import Job
from hpcorch.services.commands.process import Limits
from hpcorch.services.commands.ranks import FollowingRecord, follow
from hpcorch.services.commands.record import Call, CommandRecord, RunRecord, StepRecord, log_size
from hpcorch.services.commands.script_step import look_for_drift, script_attempt
from hpcorch.services.commands.shared_journal import SharedJournal
from hpcorch.services.commands.time_limit import Treatment, limits_of

if TYPE_CHECKING:
    from hpcorch.services.commands.own_sweep import Order

HASH_SEED = "PYTHONHASHSEED"


def begin_command(
    argv: Sequence[str], treatment: Treatment, job: Job | None, terms: Mapping[str, Any], ledger: Path | None
) -> tuple[CommandRecord, Limits]:
    """Find or make the run that a command is of, and claim its attempt; what bounds its life.

    :param terms: of the leases that it may hold
    :param ledger: as :func:`hpcorch.services.commands.execute.execute` has it
    :raises RecordError: the command cannot be recorded
    :raises UnavailableError: likewise, or as another rank than 0: rank 0 did not begin
    """
    if job is not None and job.rank > 0:
        return _following(argv, treatment, job, terms, ledger)
    record = _record(argv, treatment, job, terms, ledger)
    return record, limits_of(treatment, job, record.layout, record.attempt)


def _following(
    argv: Sequence[str], treatment: Treatment, job: Job, terms: Mapping[str, Any], ledger: Path | None
) -> tuple[CommandRecord, Limits]:
    mine = script_attempt(os.environ, job)
    if mine is not None:
        led = follow(job, mine.attempt, lambda: [mine.layout], patient=bool(terms))
        record = FollowingRecord(led.layout, mine.attempt, mine.launch)
    else:
        from hpcorch.services.commands.own_sweep import attempt_in, recorded_for

        path, order, attempt = ledger or default_ledger(Path.cwd()), _order(argv, treatment, terms), attempt_in(job)
        led = follow(job, attempt, lambda: recorded_for(path, order, job), patient=bool(terms))
        record = FollowingRecord(led.layout, attempt, attempt.run)
    return record, Limits(grace_s=treatment.grace_s, warn_at=led.warn_at, kill_at=led.kill_at)


def _record(
    argv: Sequence[str], treatment: Treatment, job: Job | None, terms: Mapping[str, Any], ledger: Path | None
) -> CommandRecord:
    call = Call(argv=argv, flags=treatment.flags)
    mine = script_attempt(os.environ, job) if job is not None else None
    if mine is not None:
        path = mine.layout.journal(mine.attempt)
        journal = SharedJournal(path, lambda: _claimed(job, log=None))
        record = StepRecord(mine.layout, mine.attempt, mine.launch, journal, call)
        if not journal.is_claimed:  # once for each start of the script
            look_for_drift(read_header(mine.layout.manifest(mine.launch)), record.note)
        return record
    from hpcorch.services.commands.own_sweep import begin_here, begin_in_job  # steps do without

    order = _order(argv, treatment, terms)
    path, claimed = ledger or default_ledger(Path.cwd()), _claimed(job, log=log_file())
    own = begin_here(path, order, claimed) if job is None else begin_in_job(path, order, job, claimed)
    return RunRecord(own.layout, own.attempt, own.launch, own.journal, call, in_job=job is not None)


def _order(argv: Sequence[str], treatment: Treatment, terms: Mapping[str, Any]) -> Order:
    from hpcorch.services.commands.own_sweep import Order

    return Order(
        argv=argv,
        flags=treatment.flags,
        name=treatment.name or Path(argv[0]).name.encode("utf-8", "backslashreplace").decode(),
        cwd=Path.cwd(),
        environ={HASH_SEED: "0", **os.environ},
        leases=terms,
        options=_options(treatment),
    )


def _options(treatment: Treatment) -> dict[str, Any]:
    """How the command is treated, for the record: what is not as it is by itself."""
    given = {
        "leases": dict(treatment.leases) or None,
        "result": None if treatment.result is None else str(treatment.result),
        "grace_s": treatment.grace_s,
        "requeue": treatment.requeue or None,
        "signal_delay": treatment.signal_delay_s if treatment.requeue else None,
        "max_requeues": treatment.max_requeues if treatment.requeue else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _claimed(job: Job | None, *, log: Path | None) -> AttemptClaimed:
    """The first fact of an attempt.

    :param log: the file that its output goes to; None of a script, whose commands may write elsewhere
    """
    return AttemptClaimed(
        host=(job.node if job is not None else None) or socket.gethostname(),
        pid=os.getpid(),
        job_id=None if job is None else job.raw_id,
        array_job_id=None if job is None else job.array_id,
        array_task=None if job is None else job.index,
        log=str(log) if log else None,
        log_offset=log_size() if log else None,
        python=sys.executable,
        cpus=cpu_count(),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
        tasks=1 if job is None else job.ranks,
        nodes=None if job is None else job.nodes,
    )
