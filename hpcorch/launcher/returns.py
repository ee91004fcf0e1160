"""What a launch returns to Hydra's sweeper: one JobReturn a run, honest about runs that are not over."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHandle:
    """A run that was submitted and left. ``hpcorch status <sweep>`` tells what became of it."""

    sweep: str
    run: int
    state: RunState
    directory: str

    def __str__(self) -> str:
        return f"{self.sweep}/{self.run} ({self.state.value})"


class SweepJobReturn(JobReturn):
    """A JobReturn whose configurations are rebuilt when somebody looks at them.

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
