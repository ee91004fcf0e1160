"""What came of tending a sweep: what was submitted, what could not be done, and what is to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcorch.errors import HpcorchError
from hpcorch.model.ids import named_runs
from hpcorch.services.decide import PlannedRetry, Resubmit


@dataclass(slots=True, kw_only=True)
class Tended:
    """What came of tending a sweep.

    :param resubmitted: what was submitted again -> the new array's job id
    :param fed: arrays of runs that had waited until Slurm takes them
    :param keepers: submission -> the job id of its new keeper
    :param troubles: what could not be done
    :param awaited: runs that will be run again, and were not submitted yet
    """

    sweep: str
    resubmitted: list[tuple[Resubmit, str]] = field(default_factory=list)
    fed: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    keepers: dict[int, str] = field(default_factory=dict)
    troubles: list[HpcorchError] = field(default_factory=list)
    awaited: Mapping[int, PlannedRetry] = field(default_factory=dict)

    @property
    def deeds(self) -> list[str]:
        """What was done, sentence by sentence. (That an array got its keeper nobody needs to hear.)"""
        fed = [f"{named_runs(runs)} of sweep {self.sweep} submitted as array {job}" for job, runs in self.fed]
        return [*(self._submitted(action, job_id) for action, job_id in self.resubmitted), *fed]

    @property
    def sentences_of_trouble(self) -> list[str]:
        """What could not be done."""
        return [f"sweep {self.sweep} could not be looked after: {error}" for error in self.troubles]

    @property
    def sentences(self) -> list[str]:
        """What was done, and what could not be."""
        return [*self.deeds, *self.sentences_of_trouble]

    def _submitted(self, action: Resubmit, job_id: str) -> str:
        wait = f", to start in {action.wait_s} s" if action.wait_s else ""
        runs = named_runs(action.runs)
        return f"{runs} of sweep {self.sweep} submitted again as array {job_id} ({action.reason}){wait}"

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "resubmitted": [
                {"runs": list(a.runs), "job_id": job, "wait_s": a.wait_s, "reason": a.reason}
                for a, job in self.resubmitted
            ],
            "fed": [{"runs": list(runs), "job_id": job} for job, runs in self.fed],
            "keepers": [{"submission": number, "job_id": job} for number, job in self.keepers.items()],
            "awaited": {str(run): retry.as_plain() for run, retry in self.awaited.items()},
            "troubles": [str(error) for error in self.troubles],
        }
