"""Drift: differences from what was frozen. Each finding is a fact; the policy of its aspect says what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from hpcorch.errors import DriftError
from hpcorch.model.drift import Aspect, Policy, Severity
from hpcorch.model.events import DriftFound, Fact
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.output import say

Recorder = Callable[[Fact], None]
"""Writes a fact into the attempt's journal, or nowhere, as on ranks other than 0."""

_NAMED = 5


@dataclass(slots=True, kw_only=True)
class DriftLog:
    """The drift of one attempt.

    :param policies: aspect -> policy, as the manifest has them
    :param record: replaced when somebody else owns the journal
    """

    policies: Mapping[str, str]
    record: Recorder
    _refused: list[str] = field(default_factory=list)

    def found(
        self,
        aspect: Aspect,
        what: str,
        *,
        before: str | None,
        after: str | None,
        severity: Severity = Severity.MAJOR,
        sentence: str | None = None,
        late: bool = False,
    ) -> None:
        """Record a finding, and warn or remember it as the policy says.

        :param sentence: for people; made of the other values by default, and empty where another says it
        :param late: the task has run with it: there is nothing left to refuse
        """
        policy = Policy(self.policies.get(aspect.value, Policy.REFUSE.value))
        if late and policy is Policy.REFUSE:
            policy = Policy.WARN
        self.record(
            DriftFound(
                aspect=aspect.value,
                severity=severity.value,
                what=what,
                before=before,
                after=after,
                policy=policy.value,
            )
        )
        text = f"{what} was {before or 'not there'} and is {after or 'not there'}" if sentence is None else sentence
        if policy is Policy.REFUSE and text:
            self._refused.append(text)
        elif policy is Policy.WARN and text:
            say(f"drift of the {aspect.value}: {text}")

    def settle(self) -> None:
        """End the attempt if something was found whose policy is to refuse.

        :raises DriftError: it was
        """
        if self._refused:
            more = len(self._refused) - _NAMED
            named = "; ".join(self._refused[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
            self._refused.clear()
            raise DriftError(
                f"{named}. Submit the run again to run the current state, or say with hydra.launcher.drift what may"
                " differ"
            )
