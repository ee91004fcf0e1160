"""The story of one run, as its events tell it: what ran, from what, where, in which attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpcorch.model.drift import Aspect, Policy, Severity
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import (
    AttemptClaimed,
    AttemptSeeded,
    AttemptVerified,
    CheckpointRestored,
    CheckpointSaved,
    CodeFrozen,
    DriftFound,
    EnvironmentFound,
    EnvironmentFrozen,
    InputRecorded,
)
from hpcorch.model.ids import AttemptId, format_ranges
from hpcorch.services.audit.evidence import Evidence
from hpcorch.services.audit.findings import Examination, Finding
from hpcorch.services.json_values import attempt_as_plain, attempt_name, live_scripts_text
from hpcorch.services.recording.freeze import run_key
from hpcorch.services.reports.attempt_history import commands_of

# What a result may depend on beyond code and packages; DESIGN.md promises equal bits on equal hardware only.
HARDWARE = {"platform": ("cpu", "machine"), "variables": ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStory:
    """One attempt.

    :param saved: how many checkpoints it saved
    :param restored: what it went on from; None if it began anew
    :param verified: what it compared before it ran; None if it did not get so far, or nothing was frozen
    :param changes: of its environment against the one that was frozen
    """

    attempt: Attempt
    libraries: Sequence[str]
    restored: CheckpointRestored | None
    saved: int
    verified: AttemptVerified | None
    drift: Sequence[DriftFound]
    changes: Mapping[str, Mapping[str, Any]]

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            **attempt_as_plain(self.attempt),
            "seeded": list(self.libraries),
            "restored": None if self.restored is None else asdict(self.restored),
            "checkpoints_saved": self.saved,
            "verified": None if self.verified is None else asdict(self.verified),
            "drift": [asdict(drift) for drift in self.drift],
            "environment_changes": {name: dict(section) for name, section in self.changes.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAudit:
    """One run with all that determined its result, and what was found about it."""

    run: Run
    config: Mapping[str, Any]
    code: CodeFrozen | None
    environment: EnvironmentFrozen | None
    inputs: Sequence[InputRecorded]
    attempts: Sequence[AttemptStory]
    reused_from: str | None
    findings: Sequence[Finding]

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        run = self.run
        return {
            "index": run.run,
            "state": run.state.value,
            "overrides": list(run.overrides),
            "params": dict(run.params),
            "seed": run.seed,
            "seed_source": run.seed_source,
            "config": dict(self.config),
            "config_digest": run.config_digest,
            "key": run.key or None,
            "code": None if self.code is None else {**asdict(self.code), "left": len(self.code.left)},
            "environment": None if self.environment is None else asdict(self.environment),
            "inputs": [asdict(one) for one in self.inputs],
            "result": run.result,
            "error": run.error,
            "reason": run.reason,
            "reused_from": self.reused_from,
            "attempts": [story.as_plain() for story in self.attempts],
            "findings": [finding.as_plain() for finding in self.findings],
        }


def stories_of(evidence: Evidence, attempts: Sequence[Attempt]) -> list[AttemptStory]:
    """The attempts of one run, the earliest first."""
    return [_story(evidence, attempt) for attempt in attempts]


def _story(evidence: Evidence, attempt: Attempt) -> AttemptStory:
    source = str(attempt.id)
    changes = [fact.changes for fact in evidence.facts(EnvironmentFound, source)]
    return AttemptStory(
        attempt=attempt,
        libraries=sorted({name for fact in evidence.facts(AttemptSeeded, source) for name in fact.libraries}),
        restored=next(iter(evidence.facts(CheckpointRestored, source)[-1:]), None),
        saved=len(evidence.facts(CheckpointSaved, source)),
        verified=next(iter(evidence.facts(AttemptVerified, source)[-1:]), None),
        drift=evidence.facts(DriftFound, source),
        changes=changes[-1] if changes else {},
    )


def inputs_of(evidence: Evidence, run: Run) -> list[InputRecorded]:
    """The inputs of a run: what its last attempt to name each of them found."""
    facts = [fact for name in evidence.attempts(run.run) for fact in evidence.facts(InputRecorded, str(name))]
    return list({fact.path: fact for fact in facts}.values())


def examine_frozen(evidence: Evidence, exam: Examination) -> None:
    """Say of which runs code or environment were never put on record, as older versions did not."""
    for what, known in (("snapshot of the code", evidence.codes), ("environment", evidence.environments)):
        if missing := [run.run for run in evidence.runs if run.launch not in known]:
            exam.note(f"runs {format_ranges(missing)}", f"no {what} is on record for them")
    if evidence.sweep.is_wrapped:
        exam.note(
            evidence.sweep.name,
            "a user's script or command: it is not known which of the recorded code and environment it used",
        )


def examine_identity(evidence: Evidence, run: Run, exam: Examination) -> None:
    """See that the parts of a run's identity fit each other, and that they are what each attempt verified."""
    code, launch = evidence.code(run), evidence.launch(run)
    if code and run.key and run.key != run_key(config_digest=run.config_digest, code=code.digest, seed=run.seed):
        exam.error(f"run {run.run}", "its key is not that of its configuration, code and seed", run=run.run)
    expected = {
        "configuration": run.config_digest,
        "task": launch.task_digest if launch else None,
        "code": code.digest if code else None,
    }
    for name in evidence.attempts(run.run):
        _examine_attempt(evidence, name, run, expected, exam)


def _examine_attempt(
    evidence: Evidence, name: AttemptId, run: Run, expected: Mapping[str, str | None], exam: Examination
) -> None:
    attempt = f"attempt {attempt_name(name)}"
    for seeded in evidence.facts(AttemptSeeded, str(name)):
        if seeded.seed != run.seed:
            text = f"{attempt} seeded generators with {seeded.seed}, and the run's seed is {run.seed}"
            exam.error(attempt, text, run=run.run)
    for verified in evidence.facts(AttemptVerified, str(name)):
        if verified.entry_problem is not None:
            text = f"{attempt} executed the function alone, from a pickle, since {verified.entry_problem}"
            exam.note(attempt, text, run=run.run)
        ran = {
            "configuration": verified.config_digest,
            "task": verified.task_digest,
            "code": verified.code_digest,
        }
        for what, found in ran.items():
            if found != expected[what]:
                text = f"{attempt} ran another {what} than was planned: {found}, planned was {expected[what]}"
                exam.error(attempt, text, run=run.run)


def examine_drift(stories: Sequence[AttemptStory], run: Run, exam: Examination) -> None:
    """List all drift but that of the environment. What an attempt was refused for did not touch the result."""
    for story in stories:
        attempt = f"attempt {attempt_name(story.attempt)}"
        scripts = [drift for drift in story.drift if drift.script is not None]
        if scripts:
            tell = exam.warn if any(map(is_grave, scripts)) else exam.note
            tell(attempt, live_scripts_text(scripts) or "", run=run.run)
        for drift in story.drift:
            if drift.aspect == Aspect.ENVIRONMENT.value or drift in scripts:
                continue
            text = f"{attempt}: drift of the {drift.aspect}: {drift_text(drift)} (policy {drift.policy})"
            tell = exam.warn if is_grave(drift) else exam.note
            tell(drift.what, text, run=run.run)


def drift_text(drift: DriftFound) -> str:
    """What was found, as part of a sentence."""
    return f"{drift.what} was {drift.before or 'not there'} and was found {drift.after or 'missing'}"


def is_grave(drift: DriftFound) -> bool:
    """Whether a result may depend on it."""
    return drift.severity == Severity.MAJOR.value and drift.policy != Policy.REFUSE.value


def examine_hardware(evidence: Evidence, stories: Sequence[AttemptStory], run: Run, exam: Examination) -> None:
    """See that each attempt went on where the one that saved its checkpoint ran, or on the like of it."""
    by_name = {str(_id(story)): story for story in stories}
    for story in stories:
        saver = by_name.get(story.restored.attempt) if story.restored is not None else None
        if saver is None:
            continue
        for what, before, after in _different(evidence, saver, story):
            attempt = f"attempt {attempt_name(story.attempt)}"
            text = (
                f"{attempt} went on from a checkpoint of {attempt_name(saver.attempt)} on other hardware: {what}"
                f" was {before or 'not set'} and is {after or 'not set'}; equal bits are promised on equal"
                " hardware"
            )
            exam.warn(attempt, text, run=run.run)


def _id(story: AttemptStory) -> AttemptId:
    one = story.attempt
    return AttemptId(run=one.run, submission=one.submission, restart=one.restart)


def _different(evidence: Evidence, one: AttemptStory, other: AttemptStory) -> Iterator[tuple[str, str, str]]:
    for section, names in HARDWARE.items():
        for name in names:
            yield from _pair(
                f"{section} {name}", one.changes.get(section, {}), other.changes.get(section, {}), name
            )
    for name in sorted(set(one.changes.get("gpus", {})) | set(other.changes.get("gpus", {}))):
        if name.startswith("model"):
            yield from _pair(f"gpus {name}", one.changes.get("gpus", {}), other.changes.get("gpus", {}), name)
    claims = [evidence.facts(AttemptClaimed, str(_id(story))) for story in (one, other)]
    cpus = [claim[0].cpus if claim else None for claim in claims]
    if cpus[0] != cpus[1]:
        yield "the number of CPUs", str(cpus[0] or ""), str(cpus[1] or "")


def _pair(
    what: str, before: Mapping[str, Any], after: Mapping[str, Any], name: str
) -> Iterator[tuple[str, str, str]]:
    """A difference between two attempts, by how each differs from what was frozen."""
    if (name in before, before.get(name)) != (name in after, after.get(name)):
        texts = [str(side[name] or "") if name in side else "as at submission" for side in (before, after)]
        yield what, texts[0], texts[1]


def examine_commands(evidence: Evidence, run: Run, exam: Examination) -> None:
    """Say which commands of the last attempt ended well without the result that they were to write."""
    for name in evidence.attempts(run.run)[-1:]:
        for one in commands_of(evidence.sources[str(name)].values()):
            if one.lacks_result:
                text = f"command {one.step} of attempt {one.attempt} ended with exit code 0, and {one.problem}"
                exam.warn(f"run {run.run}", text, run=run.run)
