"""Whether the commands of `hpcorch exec` left the results that they were to leave."""

from __future__ import annotations

from hpcorch.model.entities import Run
from hpcorch.services.audit_evidence import Evidence
from hpcorch.services.command_history import commands_of
from hpcorch.services.findings import Examination


def examine_commands(evidence: Evidence, run: Run, exam: Examination) -> None:
    """Say which commands of the last attempt ended well without the result that they were to write."""
    for name in evidence.attempts(run.run)[-1:]:
        for one in commands_of(evidence.sources[str(name)].values()):
            if one.lacks_result:
                text = f"command {one.step} of attempt {one.attempt} ended with exit code 0, and {one.problem}"
                exam.warn(f"run {run.run}", text, run=run.run)
