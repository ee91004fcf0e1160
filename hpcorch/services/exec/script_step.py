"""Finding out, inside of a job, whether it is one of `hpcorch sbatch`: then its commands are steps of its attempt.

The job's environment says which submission it is of. Since a job hands its environment on to those that it submits
itself, that counts only if the submission is on record under this very job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.model.drift import Aspect, Policy, Severity
from hpcorch.model.entities import Submission
from hpcorch.model.events import AttemptClaimed, DriftFound
from hpcorch.model.ids import AttemptId
from hpcorch.model.processes import SWEEP_VARIABLE, TOKEN_VARIABLE
from hpcorch.model.states import SubmissionState
from hpcorch.provenance.code.live_code import ChangedFile, changed_files
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place, place_in
from hpcorch.slurm.job_environment import Job


def script_attempt(environ: Mapping[str, str], job: Job) -> Place | None:
    """The place in the attempt that this job is; None if `hpcorch sbatch` has not submitted it, or not as this one.

    If it is not on record under which id Slurm took the submission, as when sbatch was killed before its answer
    came, the first job that says so is believed.
    """
    directory, token = environ.get(SWEEP_VARIABLE), environ.get(TOKEN_VARIABLE)
    if not directory or not token:
        return None
    layout = SweepLayout(Path(directory))
    journal = ControlJournal(layout)
    deadline = time.monotonic() + tunables.ACCEPTANCE_WAIT_S
    while True:
        submission = _submission(journal, token)
        if submission is None or submission.state is SubmissionState.REJECTED:
            return None
        run = submission.run_at(job.index)
        if run is None:
            return None
        attempt = AttemptId(run=run, submission=submission.submission, restart=job.restart)
        found = place_in(layout, attempt, submission.launch, job)
        if submission.job_id is not None:
            return found if submission.job_id == job.id else None
        if time.monotonic() >= deadline:
            return found if _claimant(found) in (None, job.raw_id) else None
        time.sleep(tunables.SHARED_FILE_POLL_S)


def _submission(journal: ControlJournal, token: str) -> Submission | None:
    try:
        submissions = journal.history().submissions.values()
    except OSError:
        return None
    return next((one for one in submissions if one.token == token), None)


def _claimant(found: Place) -> str | None:
    facts = (event.fact for event in read_attempt(found.layout, found.attempt))
    return next((fact.job_id for fact in facts if isinstance(fact, AttemptClaimed)), None)


_TOLD = 3


def look_for_drift(header: ManifestHeader, record: Callable[[DriftFound], None]) -> None:
    """Put on record which files of the code are not as they were when the script was submitted, and tell.

    :param record: writes a fact into the attempt's journal
    """
    if header.code is None:
        return
    try:
        changed = changed_files(header.code)
    except HpcorchError as error:
        say(f"cannot check whether the code changed since submission: {error}")
        return
    for one in changed[: tunables.RECORDED_CHANGES]:
        record(_finding(one))
    if changed:
        more = len(changed) - _TOLD
        named = ", ".join(one.path for one in changed[:_TOLD]) + (f" and {more} more" if more > 0 else "")
        say(f"drift of the code: {named} changed since the script was submitted; the script runs the current code")


def _finding(changed: ChangedFile) -> DriftFound:
    return DriftFound(
        aspect=Aspect.CODE.value,
        severity=Severity.MAJOR.value,
        what=f"file {changed.path}",
        policy=Policy.WARN.value,
        before=changed.before,
        after=changed.after,
    )
