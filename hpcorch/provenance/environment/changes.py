"""What two environments differ in, and how much each difference may matter for a result."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from hpcorch.provenance.environment.record import Environment
from hpcorch.quick_dataclasses import dataclass

_LONGEST = 200


class Severity(Enum):
    """How much a difference may matter; in rising order of :attr:`rank`."""

    NOTE = "note"
    MINOR = "minor"
    MAJOR = "major"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact that is not as before.

    :param what: section and name, as in ``packages numpy``
    :param before: None where there was nothing
    :param after: None where there is nothing any more
    """

    what: str
    before: str | None
    after: str | None
    severity: Severity

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.what} is {_short(self.after)} and was not there"
        if self.after is None:
            return f"{self.what} was {_short(self.before)} and is not there"
        return f"{self.what} was {_short(self.before)} and is {_short(self.after)}"


# By section, or by section and name; the latter goes first. Results depend on code that computes and on what it
# computes with; what only places or names things is a note: it differs from node to node and from run to run.
_SEVERITIES = {
    "interpreter": Severity.MINOR,
    "interpreter version": Severity.MAJOR,
    "interpreter implementation": Severity.MAJOR,
    "packages": Severity.MAJOR,
    "platform": Severity.MINOR,
    "platform machine": Severity.MAJOR,
    "platform cpu": Severity.MAJOR,
    "platform kernel": Severity.NOTE,
    "slurm": Severity.NOTE,
    "modules": Severity.MAJOR,
    "container": Severity.MAJOR,
    "gpus": Severity.MINOR,
    "variables": Severity.NOTE,
}
_MAJOR_GPU = "gpus model"
_NOTED_GPU = "gpus device"
# Threads and their number change the order of sums.
_COMPUTING = ("OMP_", "MKL_", "OPENBLAS_", "BLIS_", "CUBLAS_", "CUDNN_", "PYTHONHASHSEED", "NVIDIA_TF32", "TORCH_")


def differences(before: Environment, after: Environment) -> list[Difference]:
    """Every fact that differs, the gravest first.

    GPUs where there were none before give no difference: login nodes have none.
    """
    found = list(_differences(before.as_plain(), after.as_plain()))
    return sorted(found, key=lambda one: (-one.severity.rank, one.what))


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
                what = f"{section} {name}"
                yield Difference(
                    what=what, before=old.get(name), after=new.get(name), severity=_severity(section, what)
                )


def _severity(section: str, what: str) -> Severity:
    name = what.removeprefix("variables ")
    if what.startswith(_MAJOR_GPU) or (section == "variables" and name.startswith(_COMPUTING)):
        return Severity.MAJOR
    if what.startswith(_NOTED_GPU):
        return Severity.NOTE
    return _SEVERITIES.get(what, _SEVERITIES[section])


def _short(text: str | None) -> str:
    shown = text or "empty"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
