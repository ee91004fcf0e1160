"""How often a failed run is repeated automatically, and after which waits: the key ``max_retries``.

The budget counts failures on record, class by class: a run that failed for the n-th time in one class is run again
if n is at most that class's number. What Slurm requeued itself is no failure, and neither is what the cluster
interrupted or somebody cancelled (:func:`hpcorch.model.failure_classes.failure_class`). A retry by hand is not
counted and resets nothing: what fails after it is a failure like any other.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from hpcorch import tunables
from hpcorch.errors import UsageError
from hpcorch.model.failure_classes import FailureClass
from hpcorch.model.values import FrozenMapping
from hpcorch.quick_dataclasses import dataclass

_DOUBLINGS = 30  # beyond these every wait is the longest


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many failures of each class are followed by another try.

    :param most: class -> how many, where it is not 0
    """

    most: FrozenMapping[FailureClass, int] = field(default_factory=FrozenMapping)

    @classmethod
    def parse(cls, value: Any) -> RetryBudget:
        """Read the key: a number for every class, or a mapping such as ``{NODE_FAIL: 3, OUT_OF_MEMORY: 0}``.

        A class that a mapping does not name has 0.

        :raises UsageError: the value has another form
        """
        if value is None:
            return cls()
        if isinstance(value, Mapping):
            most = {_class(name): _count(f"max_retries.{name}", count) for name, count in value.items()}
        else:
            most = dict.fromkeys(FailureClass, _count("max_retries", value))
        return cls(most=FrozenMapping({failure: count for failure, count in most.items() if count}))

    def plain(self) -> int | dict[str, int]:
        """The key as it is recorded; :meth:`parse` reads it."""
        counts = {self.of(failure) for failure in FailureClass}
        return counts.pop() if len(counts) == 1 else {failure.value: n for failure, n in self.most.items()}

    def of(self, failure: FailureClass) -> int:
        """How many failures of this class are followed by another try."""
        return self.most.get(failure, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ever run again."""
        return not self.most


def _class(name: object) -> FailureClass:
    text = str(name).upper()
    if text in FailureClass.__members__:
        return FailureClass[text]
    known = list(FailureClass.__members__)
    close = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"classes are {', '.join(known)}"
    raise UsageError(f"hydra.launcher.max_retries names {name!r}, which is not a class of failure; {hint}")


def _count(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(
            f"hydra.launcher.{key} must be a whole number of at least 0, or max_retries a mapping of classes to"
            f" such numbers ({{NODE_FAIL: 3, OUT_OF_MEMORY: 0}}), not {value!r}"
        )
    return value


def retry_wait_s(sweep: str, run: int, number: int) -> float:
    """Seconds between the end of a try and the beginning of the next: doubling, with jitter, up to a limit.

    The jitter comes from the run's identity, so that everybody who looks after a sweep finds the same.

    :param number: 1 for the first retry
    """
    digest = hashlib.sha256(f"{sweep}/{run}/{number}".encode()).digest()
    jitter = int.from_bytes(digest[:4], "big") / 2**32
    grown = tunables.RETRY_FIRST_WAIT_S * 2.0 ** min(number - 1, _DOUBLINGS)
    return min(tunables.RETRY_LONGEST_WAIT_S, grown) * (1.0 + tunables.RETRY_JITTER * jitter)
