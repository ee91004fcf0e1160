"""Files of a sweep's record against the digests that events have of them.

No digest is on record of logs, of the runs' own output directories, and of the launch's environment that later
submissions use; they are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcorch.errors import UnavailableError
from hpcorch.journal.archives import problem
from hpcorch.model.events import (
    CONTROL_SOURCE,
    AttemptEnded,
    CodeFrozen,
    RunReused,
    SubmissionIntended,
    SubmissionRejected,
)
from hpcorch.services.audit.evidence import Evidence
from hpcorch.services.audit.findings import Examination
from hpcorch.services.audit.journals import examine_plans


def examine_files(evidence: Evidence, exam: Examination) -> None:
    """Compare everything but journals and checkpoints."""
    assert evidence.place is not None
    launches = {run.launch for run in evidence.runs}
    for launch in evidence.launches.values():
        if launch.first_run in launches:
            if _same(evidence, launch.manifest, launch.manifest_digest, "manifest", exam):
                examine_plans(evidence, launch, exam)
            if launch.task_digest:  # a script or command of the user's has none
                task = Path(launch.manifest).with_name(evidence.place.layout.task(launch.first_run).name)
                _same(evidence, str(task), launch.task_digest, "task file", exam)
    for environment in evidence.environments.values():
        if environment.launch in launches:
            _same(evidence, environment.file, environment.digest, "environment", exam)
    _examine_code([code for code in evidence.codes.values() if code.launch in launches], evidence, exam)
    _examine_scripts(evidence, exam)
    _examine_results(evidence, exam)


def _same(
    evidence: Evidence, name: str, digest: str, kind: str, exam: Examination, *, run: int | None = None
) -> bool:
    """Whether a file is what it was."""
    assert evidence.place is not None
    path = evidence.place.file(name)
    try:
        found = evidence.place.digest(name)
    except OSError as error:
        exam.error(name, f"{path} is not there, or cannot be read ({error.strerror})", run=run)
        return False
    if found != digest:
        exam.error(name, f"{path} was changed: its digest was {digest} and is {found}", run=run)
    else:
        exam.intact[kind] += 1
    return found == digest


def _examine_code(codes: Sequence[CodeFrozen], evidence: Evidence, exam: Examination) -> None:
    assert evidence.place is not None
    for code in codes:
        if code.diff is not None and code.diff_digest is not None:
            _same(evidence, code.diff, code.diff_digest, "diff", exam)
    for unknown in dict.fromkeys(code.problem for code in codes if code.problem is not None):
        exam.note("code", f"no commit is on record, the snapshot alone: {unknown}")
    for digest, code in {code.digest: code for code in codes}.items():
        touched = f"snapshot {digest}"
        try:
            trouble = problem(evidence.place.archive(code), digest)
        except UnavailableError as error:
            exam.warn(touched, str(error))
            continue
        if trouble is None:
            exam.intact["snapshot"] += 1
        else:
            exam.error(touched, trouble)


def _examine_scripts(evidence: Evidence, exam: Examination) -> None:
    rejected = {fact.submission for fact in evidence.facts(SubmissionRejected, CONTROL_SOURCE)}
    unproven = 0
    for intent in evidence.facts(SubmissionIntended, CONTROL_SOURCE):
        if not intent.script or intent.submission in rejected:
            continue
        if intent.script_digest is None:
            unproven += 1
        else:
            _same(evidence, intent.script, intent.script_digest, "batch script", exam)
    if unproven:
        exam.note("batch scripts", f"{unproven} batch script(s) have no digest on record and were not compared")


def _examine_results(evidence: Evidence, exam: Examination) -> None:
    assert evidence.place is not None
    for run in evidence.runs:
        ends = evidence.ends(run.run)
        taken = [evidence.reused[run.run]] if run.run in evidence.reused else []
        facts: list[AttemptEnded | RunReused] = [*ends, *taken]
        for fact in facts:
            if fact.result_file is None:
                continue
            if fact.result_digest is not None:
                _same(evidence, fact.result_file, fact.result_digest, "result file", exam, run=run.run)
                continue
            try:
                evidence.place.open(fact.result_file).close()
            except OSError:
                exam.error(fact.result_file, "the result is not there, or cannot be read", run=run.run)
            else:
                exam.note(fact.result_file, "the result has no digest on record and was not compared", run=run.run)
