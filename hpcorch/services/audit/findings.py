"""What an audit finds: how grave it is, what was touched, and the evidence, as a sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, field
from enum import Enum
from typing import Any

from hpcorch.quick_dataclasses import dataclass


class Severity(Enum):
    """How grave a finding is; in rising order of :attr:`rank`."""

    NOTE = "note"  # worth knowing; nothing is wrong
    WARNING = "warning"  # something is missing, or a result may not be reproducible as it stands
    ERROR = "error"  # something is not what was recorded

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    :param touched: the file, event or fact that it is about
    :param text: a sentence
    :param sweep: None where it is about the ledger as a whole
    """

    severity: Severity
    touched: str
    text: str
    sweep: str | None = None
    run: int | None = None

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {**asdict(self), "severity": self.severity.value}


@dataclass(slots=True, kw_only=True)
class Examination:
    """What was looked at of one sweep, or of the ledger, and what was found.

    :param intact: kind of thing, as "task file" -> how many of them are as they were recorded
    """

    sweep: str | None = None
    findings: list[Finding] = field(default_factory=list)
    intact: Counter[str] = field(default_factory=Counter)

    def note(self, touched: str, text: str, *, run: int | None = None) -> None:
        """Put a note on the list."""
        self._found(Severity.NOTE, touched, text, run)

    def warn(self, touched: str, text: str, *, run: int | None = None) -> None:
        """Put a warning on the list."""
        self._found(Severity.WARNING, touched, text, run)

    def error(self, touched: str, text: str, *, run: int | None = None) -> None:
        """Put an error on the list."""
        self._found(Severity.ERROR, touched, text, run)

    def _found(self, severity: Severity, touched: str, text: str, run: int | None) -> None:
        self.findings.append(Finding(severity=severity, touched=touched, text=text, sweep=self.sweep, run=run))

    def of_run(self, run: int) -> list[Finding]:
        """The findings about one run."""
        return [finding for finding in self.findings if finding.run == run]


def gravest_first(findings: list[Finding]) -> list[Finding]:
    """Findings by severity, those of one severity in the order in which they were made."""
    return sorted(findings, key=lambda finding: -finding.severity.rank)
