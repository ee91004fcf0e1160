"""The result of tending a sweep, as a value, as sentences and as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from hpcorch.errors import HpcorchError
from hpcorch.model.ids import named_runs
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.submission.submit import SubmittedRuns
from hpcorch.services.tending.due import PlannedRetry, Resubmit


@dataclass(frozen=True, slots=True, kw_only=True)
class ResubmittedArray:
    """An array of runs that were submitted again.

    :param action: why, and which runs
    """

    action: Resubmit
    job_id: str

    def sentence(self, sweep: str) -> str:
        """What was done."""
        wait = f", to start in {self.action.wait_s} s" if self.action.wait_s else ""
        runs = named_runs(self.action.runs)
        return f"{runs} of sweep {sweep} submitted again as array {self.job_id} ({self.action.reason}){wait}"

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        action = self.action
        return {
            "runs": list(action.runs),
            "job_id": self.job_id,
            "wait_s": action.wait_s,
            "reason": action.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TendResult:
    """The result of tending a sweep.

    :param fed: arrays of runs that had waited until Slurm takes them
    :param keepers: submission -> the job id of its new keeper
    :param troubles: what could not be done
    :param awaited: runs that will be run again, and were not submitted yet
    :param gone: what became of its directory, if that is not there: nothing is submitted from it
    """

    sweep: str
    resubmitted: tuple[ResubmittedArray, ...] = ()
    fed: tuple[SubmittedRuns, ...] = ()
    keepers: Mapping[int, str] = field(default_factory=dict)
    troubles: tuple[HpcorchError, ...] = ()
    awaited: Mapping[int, PlannedRetry] = field(default_factory=dict)
    gone: str | None = None

    @property
    def deeds(self) -> list[str]:
        """What was done, sentence by sentence, without the keepers that were submitted."""
        fed = [f"{named_runs(one.runs)} of sweep {self.sweep} submitted as array {one.job_id}" for one in self.fed]
        return [*(one.sentence(self.sweep) for one in self.resubmitted), *fed]

    @property
    def sentences_of_trouble(self) -> list[str]:
        """What could not be done."""
        return [f"sweep {self.sweep} could not be tended: {error}" for error in self.troubles]

    @property
    def sentences(self) -> list[str]:
        """What was done, and what could not be."""
        return [*self.deeds, *self.sentences_of_trouble]

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "resubmitted": [one.as_plain() for one in self.resubmitted],
            "fed": [{"runs": list(one.runs), "job_id": one.job_id} for one in self.fed],
            "keepers": [{"submission": number, "job_id": job} for number, job in self.keepers.items()],
            "awaited": {str(run): retry.as_plain() for run, retry in self.awaited.items()},
            "gone": self.gone,
            "troubles": [str(error) for error in self.troubles],
        }
