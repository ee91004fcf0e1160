"""What a task uses and reports while it runs: leases, inputs, metrics."""

from __future__ import annotations

from typing import Any, ClassVar

from hpcorch.model.events.base import Fact, StepValue
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReported(Fact):
    """What became of a lease of a shared resource: waiting, held, released, lost, over-held."""

    kind = "lease-reported"
    stage: str
    resource: str
    count: int
    number: int  # of the ticket; lower numbers are served first
    ahead: int  # slots that earlier tickets hold or wait for
    seconds: float  # that it waited, was held, or showed no sign of life


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecorded(Fact):
    """The task recorded a file or directory that its result depends on."""

    kind = "input-recorded"
    path: str  # absolute
    form: str  # file | directory
    digest: str  # sha256:<hexadecimal> of the content; of a directory's list of names and digests
    size: int  # bytes of all files
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsLogged(Fact):
    """The metrics that the task logged, entry by entry. They stay in the journal; the ledger takes the summary."""

    kind = "metrics-logged"
    archived: ClassVar[bool] = False
    entries: list[list[Any]]  # [step, {name: value}]; a value that is not finite is a string


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSummarised(Fact):
    """The summary of the metrics, including those of the attempts that this one continues."""

    kind = "metrics-summarised"
    metrics: dict[str, dict[str, StepValue]]  # name -> {"last" | "min" | "max": [step, value]}
    logged: str | None = None  # sha256:<hexadecimal> of the metrics-logged lines before it in the journal
