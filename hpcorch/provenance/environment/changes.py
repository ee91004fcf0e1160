"""What two environments differ in, and how much each difference may matter for a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpcorch.model.drift import Severity
from hpcorch.provenance.environment.record import Environment
from hpcorch.quick_dataclasses import dataclass

_LONGEST = 200
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact that differs.

    :param section: of the record, as in ``packages``
    :param name: within the section, as in ``numpy``
    :param before: None where there was nothing
    :param after: None where there is nothing any more
    """

    section: str
    name: str
    before: str | None
    after: str | None
    severity: Severity

    @property
    def what(self) -> str:
        """Section and name, as in ``packages numpy``."""
        return f"{self.section} {self.name}"

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.what} is {_short(self.after)} and was not there"
        if self.after is None:
            return f"{self.what} was {_short(self.before)} and is not there"
        return f"{self.what} was {_short(self.before)} and is {_short(self.after)}"


# Results depend on code that computes and on what it computes with; what only places or names things is a note: it
# differs from node to node and from run to run.
_OF_SECTION = {
    "interpreter": Severity.MINOR,
    "packages": Severity.MAJOR,
    "platform": Severity.MINOR,
    "slurm": Severity.NOTE,
    "modules": Severity.MAJOR,
    "container": Severity.MAJOR,
    "gpus": Severity.MINOR,
    "variables": Severity.NOTE,
}
# Where a name counts otherwise than its section.
_SEVERITIES = {
    ("interpreter", "version"): Severity.MAJOR,
    ("interpreter", "implementation"): Severity.MAJOR,
    ("platform", "machine"): Severity.MAJOR,
    ("platform", "cpu"): Severity.MAJOR,
    ("platform", "kernel"): Severity.NOTE,
}
# Threads and their number change the order of sums.
_COMPUTING = ("OMP_", "MKL_", "OPENBLAS_", "BLIS_", "CUBLAS_", "CUDNN_", "PYTHONHASHSEED", "NVIDIA_TF32", "TORCH_")
# Where all names that begin so do.
_BY_BEGINNING = {
    "gpus": {"model": Severity.MAJOR, "device": Severity.NOTE},
    "variables": dict.fromkeys(_COMPUTING, Severity.MAJOR),
}


def differences(before: Environment, after: Environment) -> list[Difference]:
    """Every fact that differs, the gravest first.

    GPUs where there were none before give no difference: login nodes have none.
    """
    found = list(_differences(before.as_plain(), after.as_plain()))
    return sorted(found, key=lambda one: (-one.severity.rank, one.what))


def grouped(found: Sequence[Difference]) -> Iterator[tuple[list[Difference], str]]:
    """Differences of a section that matter as much, with one text for all of them."""
    groups: dict[tuple[Severity, str], list[Difference]] = {}
    for one in found:
        groups.setdefault((one.severity, one.section), []).append(one)
    for (_, section), members in groups.items():
        changes = [(one.name, one.before, one.after) for one in members]
        yield members, several(section, changes) if len(members) > 1 else str(members[0])


def several(section: str, changes: Sequence[tuple[str, str | None, str | None]]) -> str:
    """One text for several differences in a section: ``3 packages differ: numpy 1.26 -> 2.0, ...``.

    :param changes: name, value before, value after
    """
    named = ", ".join(f"{name} {' -> '.join(_briefly(before, after))}" for name, before, after in changes[:_NAMED])
    more = len(changes) - _NAMED
    return f"{len(changes)} {section} differ: {named}{f', and {more} more' if more > 0 else ''}"


def _briefly(before: str | None, after: str | None) -> list[str]:
    """Both values; of packages the versions alone, if these differ."""
    versions = [None if value is None else value.partition(" sha256:")[0] for value in (before, after)]
    shown = versions if versions[0] != versions[1] else [before, after]
    return ["none" if value is None else _short(value) for value in shown]


def _differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> Iterator[Difference]:
    for section, old in before.items():
        new = after[section]
        if section == "gpus" and not old:
            continue
        same_file = section == "interpreter" and old.get("file") == new.get("file") is not None
        for name in {**old, **new}:
            if same_file and name == "executable":
                continue  # python and python3 are two names of one program
            if old.get(name) != new.get(name):
                yield Difference(
                    section=section,
                    name=name,
                    before=old.get(name),
                    after=new.get(name),
                    severity=_severity(section, name),
                )


def _severity(section: str, name: str) -> Severity:
    for beginning, severity in _BY_BEGINNING.get(section, {}).items():
        if name.startswith(beginning):
            return severity
    return _SEVERITIES.get((section, name), _OF_SECTION[section])


def _short(text: str | None) -> str:
    shown = text or "empty"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
