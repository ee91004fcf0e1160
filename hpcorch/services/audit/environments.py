"""Drift of the environment as findings: one for each section of it, however many attempts found it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpcorch.model.drift import Aspect
from hpcorch.model.events import DriftFound
from hpcorch.model.ids import named_runs
from hpcorch.provenance.environment.changes import several
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.audit.findings import Examination
from hpcorch.services.audit.runs import AttemptStory, drift_text, is_grave
from hpcorch.services.json_values import attempt_name


@dataclass(slots=True, kw_only=True)
class _Found:
    """What attempts found of one section.

    :param changes: what differs -> how
    :param attempts: run -> its attempts
    """

    changes: dict[str, DriftFound]
    attempts: dict[int, list[str]]


def examine_environments(runs: Iterable[tuple[int, Sequence[AttemptStory]]], exam: Examination) -> None:
    """List the drift of the environment that attempts of a sweep found, section by section.

    :param runs: each run's index, and its attempts
    """
    groups: dict[tuple[str, str, bool], _Found] = {}
    for run, stories in runs:
        for story in stories:
            for drift in story.drift:
                if drift.aspect == Aspect.ENVIRONMENT.value:
                    key = (drift.what.partition(" ")[0], drift.policy, is_grave(drift))
                    found = groups.setdefault(key, _Found(changes={}, attempts={}))
                    found.changes.setdefault(drift.what, drift)
                    names = found.attempts.setdefault(run, [])
                    if (name := attempt_name(story.attempt)) not in names:
                        names.append(name)
    for (section, policy, grave), found in groups.items():
        tell = exam.warn if grave else exam.note
        only = next(iter(found.attempts)) if len(found.attempts) == 1 else None
        text = f"{_who(found)}: drift of the environment: {_what(section, found)} (policy {policy})"
        tell(section, text, run=only)


def _who(found: _Found) -> str:
    attempts = [name for names in found.attempts.values() for name in names]
    if len(attempts) == 1:
        return f"attempt {attempts[0]}"
    return f"{len(attempts)} attempts of {named_runs(sorted(found.attempts))}"


def _what(section: str, found: _Found) -> str:
    first, *others = found.changes.values()
    if not others:
        return drift_text(first)
    changes = [(drift.what.removeprefix(f"{section} "), drift.before, drift.after) for drift in (first, *others)]
    return several(section, changes)
