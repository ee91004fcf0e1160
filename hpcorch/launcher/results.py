"""The results of a launch, rebuilt from the record: one JobReturn a run, honest about runs that are not over."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import FrozenRun, ManifestBase, ManifestHeader, ManifestRun
from hpcorch.launcher.errors import RunFailedError
from hpcorch.ledger.store import Ledger
from hpcorch.model.states import AttemptOutcome, RunState
from hpcorch.runtime.attempt.results import decode_error, decode_result
from hpcorch.runtime.program.call import frozen_config
from hpcorch.services.reports.outcomes import Outcome, failure_report, failure_text, failures, read_outcomes
from hpcorch.services.tending.unsubmitted import retries_to_come

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle:
    """A run that was submitted and not waited for. ``hpcorch status <sweep>`` shows its state."""

    sweep: str
    run: int
    state: RunState
    directory: str

    def __str__(self) -> str:
        return f"{self.sweep}/{self.run} ({self.state.value})"


class SweepJobReturn(JobReturn):
    """A JobReturn whose configurations are rebuilt on first access.

    Rebuilding costs milliseconds a run, and nobody looks at those of ten thousand runs.
    """

    def __init__(self, *, overrides: list[str], rebuild: Callable[[], DictConfig]) -> None:
        self._rebuild = rebuild
        self._config: DictConfig | None = None
        super().__init__(overrides=overrides)

    def _full(self) -> DictConfig:
        if self._config is None:
            self._config = self._rebuild()
        return self._config

    def _get_cfg(self) -> DictConfig:
        """The task's configuration, as the task got it."""
        config = copy.copy(self._full())
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config

    def _get_hydra_cfg(self) -> DictConfig:
        """Hydra's own configuration of the run, below the key ``hydra``."""
        masked = OmegaConf.masked_copy(self._full(), "hydra")
        assert isinstance(masked, DictConfig)
        return masked

    def _ignore(self, value: Any) -> None:
        """JobReturn's initialiser sets what is derived here."""

    cfg = property(_get_cfg, _ignore)
    hydra_cfg = property(_get_hydra_cfg, _ignore)


class UnfinishedJobReturn(SweepJobReturn):
    """A run that is not over: its status stays UNKNOWN and its value is a handle, never a made-up result."""

    def __init__(self, handle: RunHandle, *, overrides: list[str], rebuild: Callable[[], DictConfig]) -> None:
        super().__init__(overrides=overrides, rebuild=rebuild)
        self.status = JobStatus.UNKNOWN
        self._return_value = handle

    @property
    def return_value(self) -> Any:
        """The :class:`RunHandle`. Hydra's own property would assert that the run is over."""
        return self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class FailedJobReturn(SweepJobReturn):
    """A run that failed: its value is an exception that says which run, where its log is, and its last lines."""

    def __init__(self, error: Exception, *, overrides: list[str], rebuild: Callable[[], DictConfig]) -> None:
        super().__init__(overrides=overrides, rebuild=rebuild)
        self.status = JobStatus.FAILED
        self._return_value = error

    @property
    def return_value(self) -> Any:
        """Raises the error, as Hydra's own property does, without its line on standard error."""
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class CompletedJobReturn(SweepJobReturn):
    """A run that completed, with the task's own return value."""

    def __init__(self, value: Any, *, overrides: list[str], rebuild: Callable[[], DictConfig]) -> None:
        super().__init__(overrides=overrides, rebuild=rebuild)
        self.status = JobStatus.COMPLETED
        self._return_value = value


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchResults:
    """Makes the JobReturns of one launch.

    :param bases: the manifest's bases by number
    :param runs: the manifest's runs, in order
    :param hint: what an error of a failed run adds
    """

    layout: SweepLayout
    header: ManifestHeader
    bases: Mapping[int, ManifestBase]
    runs: Sequence[ManifestRun]
    hint: str = ""

    def read(self, ledger: Ledger) -> list[JobReturn]:
        """One JobReturn for each run; of one that is not over, a handle with the state that it is in.

        One that failed and will be run again is not over, and as good as PLANNED.
        """
        outcomes = read_outcomes(ledger, self.layout, self.header.sweep, [run.run for run in self.runs])
        again = retries_to_come(ledger, self.header.sweep)
        failed = failures(outcome for outcome in outcomes if outcome.run.run not in again)
        return [
            self._ended(outcome, run, failed)
            if outcome.run.state.is_final and run.run not in again
            else self._handle(run, RunState.PLANNED if run.run in again else outcome.run.state)
            for outcome, run in zip(outcomes, self.runs, strict=True)
        ]

    def handles(self, states: Mapping[int, RunState]) -> list[JobReturn]:
        """One handle for each run.

        :param states: run -> state; a run that is missing is PLANNED
        """
        return [self._handle(run, states.get(run.run, RunState.PLANNED)) for run in self.runs]

    def _handle(self, run: ManifestRun, state: RunState) -> JobReturn:
        handle = RunHandle(sweep=self.header.sweep, run=run.run, state=state, directory=run.directory)
        return UnfinishedJobReturn(handle, overrides=run.overrides, rebuild=self._rebuilder(run, job_id=None))

    def _ended(self, outcome: Outcome, run: ManifestRun, failed: Sequence[Outcome]) -> JobReturn:
        rebuild = self._rebuilder(run, job_id=outcome.run.job_id)
        done: JobReturn
        if outcome.run.state is RunState.COMPLETED:
            value = None if outcome.end is None else _value(outcome, self.layout)
            done = CompletedJobReturn(value, overrides=run.overrides, rebuild=rebuild)
        else:
            done = FailedJobReturn(self._error(outcome, failed), overrides=run.overrides, rebuild=rebuild)
        done.working_dir = outcome.end.working_dir if outcome.end is not None else run.directory
        done.task_name = outcome.end.task_name if outcome.end is not None else self.header.job_name
        return done

    def _error(self, outcome: Outcome, failed: Sequence[Outcome]) -> RunFailedError:
        """The error of one failed run, which tells of the other failed ones too: a sweeper shows only the first."""
        others = [other for other in failed if other is not outcome]
        report = failure_report([outcome, *others], total=len(self.runs), sweep=self.header.sweep)
        error = RunFailedError(
            (report if others else failure_text(outcome)) + self.hint, run=outcome.run.run, log=outcome.run.log
        )
        if outcome.end is not None and outcome.end.ended_as is AttemptOutcome.FAILED:
            error.__cause__ = decode_error(outcome.end, run=outcome.run.run, log=outcome.run.log)
        return error

    def _rebuilder(self, run: ManifestRun, *, job_id: str | None) -> Callable[[], DictConfig]:
        frozen = FrozenRun(header=self.header, base=self.bases[run.base], run=run)
        return partial(_rebuilt, frozen, job_id or f"{self.header.sweep}/{run.run}")


def _value(outcome: Outcome, layout: SweepLayout) -> Any:
    assert outcome.end is not None
    try:
        return decode_result(outcome.end, layout)
    except (OSError, RecordError) as error:
        raise RecordError(f"the result of run {outcome.run.run} cannot be read back: {error}") from error
    except Exception as error:
        raise RecordError(
            f"the result of run {outcome.run.run} cannot be read back ({type(error).__name__}: {error}): its class"
            f" must be importable here; in JSON form it is {repr(outcome.end.result)[: tunables.RESULT_REPR_CHARS]}"
        ) from error


def _rebuilt(frozen: FrozenRun, job_id: str) -> DictConfig:
    config = frozen_config(frozen, job_id=job_id)
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = frozen.run.directory
    return config
