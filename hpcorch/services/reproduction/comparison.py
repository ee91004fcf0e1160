"""Whether two executions of the same run have the same outcome: to the bit, within a tolerance, or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import Enum
from fractions import Fraction
from typing import Any

from hpcorch.model.events import AttemptClaimed, AttemptEnded, EnvironmentFound, RunReused
from hpcorch.model.values import same
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import DamagedError, read_trailer
from hpcorch.services.audit.diff import leaves
from hpcorch.services.audit.evidence import Evidence
from hpcorch.services.audit.runs import HARDWARE


class Sameness(Enum):
    """In rising order of difference."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedValue:
    """One thing that both executions have.

    :param what: result, a part of it, a metric, or the last checkpoint
    """

    what: str
    before: Any
    after: Any
    sameness: Sameness

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {**asdict(self), "sameness": self.sameness.value}


def compare_conditions(before: Evidence, after: Evidence) -> list[ComparedValue]:
    """The hardware and thread counts of the last attempts of one run each, as far as they differ."""
    found = [_conditions(evidence) for evidence in (before, after)]
    return [one for one in _compare(found[0], found[1], 0.0) if one.sameness is not Sameness.IDENTICAL]


def _conditions(evidence: Evidence) -> dict[str, Any]:
    """The environment as frozen, with what the last attempt found to be another."""
    run = evidence.runs[0]
    attempts = [str(name) for name in evidence.attempts(run.run)][-1:]
    frozen = evidence.environment(run)
    known = None if frozen is None else evidence.read_environment(frozen)
    sections = {} if known is None else known.as_plain()
    changes = next((fact.changes for name in attempts for fact in evidence.facts(EnvironmentFound, name)), {})
    found: dict[str, Any] = {}
    for section, names in HARDWARE.items():
        values = {**sections.get(section, {}), **changes.get(section, {})}
        found |= {f"{section} {name}": values.get(name) for name in names}
    gpus = {**sections.get("gpus", {}), **changes.get("gpus", {})}
    found |= {f"gpus {name}": gpus[name] for name in sorted(gpus) if name.startswith("model")}
    claims = (fact for name in attempts for fact in evidence.facts(AttemptClaimed, name))
    return {**found, "number of CPUs": next((fact.cpus for fact in claims), None)}


def compare_outcomes(before: Evidence, after: Evidence, *, tolerance: float) -> list[ComparedValue]:
    """Compare state, result, metrics and the last checkpoint of one run each.

    :param tolerance: relative, of finite numbers
    """
    values = [_values(before), _values(after)]
    compared = list(_compare(values[0], values[1], tolerance))
    exact = [_exact(before), _exact(after)]
    names = [name for name in exact[0] if name in exact[1]]
    return compared + list(_compare({n: exact[0][n] for n in names}, {n: exact[1][n] for n in names}, 0.0))


def _values(evidence: Evidence) -> dict[str, Any]:
    run = evidence.runs[0]
    metrics = {name: metric.get("last") for name, metric in run.metrics.items()}
    return {"state": run.state.value, **leaves(run.result, "result"), **leaves(metrics, "metrics")}


def _exact(evidence: Evidence) -> dict[str, str]:
    """Digests that are equal only where every bit is: of a pickled result, and of the last checkpoint's content."""
    run = evidence.runs[0]
    ends = evidence.ends(run.run)
    outcome: AttemptEnded | RunReused | None = evidence.reused.get(run.run, ends[-1] if ends else None)
    found = {}
    if outcome is not None:
        pickled = {"pickled result": outcome.result_pickle, "result file": outcome.result_digest}
        found = {name: value for name, value in pickled.items() if value is not None}
    saved = evidence.checkpoints(run.run)
    if saved and evidence.place is not None:
        try:
            with evidence.place.open(saved[-1].file) as file:
                trailer, _ = read_trailer(file)
        except (OSError, DamagedError):
            return found
        files = " ".join(f"{one.path} {one.digest}" for one in trailer.files or ())
        found[f"checkpoint of step {trailer.step}"] = f"{trailer.payload} {files}".strip()
    return found


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float) -> Iterator[ComparedValue]:
    for name in dict.fromkeys((*before, *after)):
        missing = [values for values in (before, after) if name not in values]
        if any(other.startswith(f"{name}.") for values in missing for other in values):
            continue  # one side has nothing there, and the other has parts, which are compared
        pair = (before.get(name), after.get(name))
        sameness = Sameness.DIFFERENT if missing else _sameness(*pair, tolerance)
        yield ComparedValue(what=name, before=pair[0], after=pair[1], sameness=sameness)


def _sameness(before: Any, after: Any, tolerance: float) -> Sameness:
    if same(before, after):
        return Sameness.IDENTICAL
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        found = [_sameness(*pair, tolerance) for pair in zip(before, after, strict=True)]
        return max(found, key=list(Sameness).index)
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (before, after))
    if numbers and _close(before, after, tolerance):
        return Sameness.WITHIN_TOLERANCE
    return Sameness.DIFFERENT


def _close(before: float, after: float, tolerance: float) -> bool:
    try:
        return math.isclose(before, after, rel_tol=tolerance)
    except OverflowError:  # an integer beyond all floats
        if not all(isinstance(value, int) or math.isfinite(value) for value in (before, after)):
            return False
        one, other = Fraction(before), Fraction(after)
        return abs(one - other) <= Fraction(tolerance) * max(abs(one), abs(other))
