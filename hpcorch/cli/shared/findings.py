"""What an audit found, as text: one line a finding."""

from __future__ import annotations

from collections.abc import Mapping

from hpcorch.services.audit.findings import Finding


def finding_text(finding: Finding) -> str:
    """A finding on one line."""
    run = "" if finding.run is None else f"/{finding.run}"
    where = "" if finding.sweep is None else f"{finding.sweep}{run}: "
    return f"{finding.severity.value.upper()} {where}{finding.touched}: {finding.text}"


def counted(intact: Mapping[str, int]) -> str:
    """How many of each kind of thing are intact."""
    texts = (f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in intact.items() if count)
    return ", ".join(texts) or "nothing"
