"""Whether a user's script that ended was being preempted: the controller remembers when it began to.

In a partition with GraceTime the steps of a job get SIGTERM when the grace begins. A script that ends with them is
COMPLETED or FAILED for Slurm 22.05 (24.11 and 26.05 say PREEMPTED), and only its PreemptTime tells. The controller
keeps that as long as it remembers the job, for MinJobAge, and no database has it (measured).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from hpcorch.errors import SlurmUnavailableError
from hpcorch.model.entities import Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import parse_time
from hpcorch.services.known import Known, about
from hpcorch.slurm import commands
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.squeue import parse_preemptions

_log = logging.getLogger(__name__)
# Words that may hide a preemption. Others say more.
_BY_ITSELF = frozenset({"COMPLETED", "FAILED"})


def with_preemptions(facts: Sequence[JobObserved], known: Known, client: SlurmClient) -> list[JobObserved]:
    """The same facts; those of a script that ended by itself say so if Slurm had begun to preempt it.

    At most one request, and none where no script ended or the cluster preempts nobody. Where Slurm does not answer,
    its word on the end counts.
    """
    scripts = {one.submission: one for one in known.submissions.values() if one.ends_by_slurm}
    ended = {fact.submission for fact in facts if fact.state in _BY_ITSELF} & scripts.keys()
    if not ended:
        return list(facts)
    begun = _begun([scripts[number].job_id or "" for number in sorted(ended)], client)
    hidden = (
        fact.submission in ended and _is_preempted(fact, scripts[fact.submission], begun, known) for fact in facts
    )
    return [replace(fact, preempted=True) if found else fact for fact, found in zip(facts, hidden, strict=True)]


def _begun(job_ids: Sequence[str], client: SlurmClient) -> Mapping[str, datetime]:
    try:
        if not client.config().preempts:
            return {}
        return parse_preemptions(client.ask(commands.squeue_preemptions(job_ids)))
    except SlurmUnavailableError as error:
        _log.info("whether a script was being preempted when it ended is not known: %s", error)
        return {}


def _is_preempted(fact: JobObserved, submission: Submission, begun: Mapping[str, datetime], known: Known) -> bool:
    if fact.state not in _BY_ITSELF:
        return False
    last = known.observed.get(about(fact))
    if last is not None and last.preempted:  # the controller may have forgotten it since
        return True
    start = begun.get(submission.element(fact.run) or "")
    # The database speaks of every execution, the controller of the last; a word without a start is the latter's.
    return start is not None and (fact.start is None or parse_time(fact.start) == start)
