"""Everything that the ledger knows about a sweep, or about one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Launch, Submission
from hpcorch.model.events import CodeFrozen, DriftFound, Event, LaunchPlanned
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services import json_values as plain
from hpcorch.services.reports.attempt_history import (
    CHECKPOINT_KINDS,
    COMMAND_KINDS,
    CheckpointHistory,
    ExecutedCommand,
    commands_of,
    history_of,
)
from hpcorch.services.reports.status import RunReport, StatusReport, SweepReport, report_status
from hpcorch.services.selection.selectors import Selector, one_of
from hpcorch.services.tending.refresh import RefreshResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDetail:
    """Everything about a sweep that is not about a single run.

    :param codes: launch -> the code that it froze
    :param commands: launch -> the command line, of those by which `hpcorch extend` has added runs
    :param events: all its events in the order in which they became known; None if they were not asked for
    """

    status: StatusReport
    launches: Sequence[Launch]
    submissions: Sequence[Submission]
    codes: Mapping[int, CodeFrozen]
    commands: Mapping[int, Sequence[str]]
    events: Sequence[Event] | None

    @property
    def refresh(self) -> RefreshResult:
        """What came of the refresh."""
        return self.status.refresh

    @property
    def advices(self) -> list[str]:
        """Sentences on what is not as it should be, and what to do."""
        return self.status.advices

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            **self.status.as_plain(),
            **plain.origin_as_plain(self.status.sweep.summary.sweep),
            "launches": [
                {
                    **plain.launch_as_plain(launch),
                    "code": code_as_plain(self.codes.get(launch.first_run)),
                    "argv": self.commands.get(launch.first_run),
                }
                for launch in self.launches
            ],
            "submissions": [plain.submission_as_plain(submission) for submission in self.submissions],
            **_events_as_plain(self.events),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """Everything about one run.

    :param config: its composed configuration
    :param checkpoints: those that it saved, and what went wrong with any
    :param commands: those that `hpcorch exec` executed for it
    :param live_scripts: attempt, such as ``s0.r1`` -> what is to be said of scripts that it started
    :param events: all its events in the order in which they became known; None if they were not asked for
    """

    sweep: SweepReport
    run: RunReport
    code: CodeFrozen | None
    config: dict[str, Any]
    checkpoints: CheckpointHistory
    commands: Sequence[ExecutedCommand]
    live_scripts: Mapping[str, str]
    events: Sequence[Event] | None
    refresh: RefreshResult

    @property
    def advices(self) -> list[str]:
        """Sentences on what is not as it should be with its sweep, and what to do."""
        return list(filter(None, [self.sweep.files.gone]))

    @property
    def rerun_of(self) -> str | None:
        """The run that it repeats, as SWEEP/INDEX; None if its sweep is no rerun."""
        rerun = self.sweep.rerun
        return None if rerun is None else f"{rerun.of}/{self.run.run.run}"

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        sweep = self.sweep.summary.sweep
        return {
            "sweep": sweep.id,
            "name": sweep.name,
            "backend": sweep.backend.value,
            "rerun_of": self.rerun_of,
            **self.run.as_plain(),
            **self.checkpoints.as_plain(),
            "commands": [one.as_plain() for one in self.commands],
            "live_scripts": dict(self.live_scripts),
            "code": code_as_plain(self.code),
            "config": self.config,
            "age_s": self.sweep.age_s,
            "notices": list(self.refresh.notices),
            **_events_as_plain(self.events),
        }


def report_detail(ledger: Ledger, selector: Selector, *, events: bool = False) -> SweepDetail | RunDetail:
    """Everything about a sweep, or about the one run that is selected.

    :param events: also its events
    :raises NotFoundError: no sweep or run is selected
    :raises UsageError: some runs are selected, and not one
    """
    status = report_status(ledger, selector)
    sweep = status.sweep.summary.sweep.id
    if not selector.names_runs and selector.states is None:
        return SweepDetail(
            status=status,
            launches=ledger.launches(sweep),
            submissions=ledger.submissions(sweep),
            codes=_codes(ledger, sweep),
            commands=_commands(ledger, sweep),
            events=ledger.events(sweep) if events else None,
        )
    if len(status.runs) != 1:
        raise UsageError(
            f"{len(status.runs)} runs are selected, but only one can be shown at a time: name one, such as"
            f" {one_of(sweep, [report.run for report in status.runs])}, or see them together with `hpcorch status`"
        )
    run = status.runs[0]
    told = ledger.events(sweep, run.run.run, kinds=CHECKPOINT_KINDS | COMMAND_KINDS | {DriftFound.kind})
    return RunDetail(
        sweep=status.sweep,
        run=run,
        code=_codes(ledger, sweep).get(run.run.launch),
        config=ledger.config(sweep, run.run.run),
        checkpoints=history_of([event for event in told if event.fact.kind in CHECKPOINT_KINDS]),
        commands=commands_of(event for event in told if event.fact.kind in COMMAND_KINDS),
        live_scripts=_live_scripts(told),
        events=ledger.events(sweep, run.run.run) if events else None,
        refresh=status.refresh,
    )


def _live_scripts(told: Sequence[Event]) -> dict[str, str]:
    found: dict[str, list[DriftFound]] = {}
    for event in told:
        if isinstance(event.fact, DriftFound) and event.fact.script is not None:
            found.setdefault(plain.attempt_name(AttemptId.parse(event.source)), []).append(event.fact)
    return {name: plain.live_scripts_text(drift) or "" for name, drift in found.items()}


def _events_as_plain(events: Sequence[Event] | None) -> dict[str, Any]:
    return {} if events is None else {"events": [plain.event_as_plain(event) for event in events]}


def code_as_plain(code: CodeFrozen | None) -> dict[str, Any] | None:
    """Which code it is, as JSON-able data."""
    if code is None:
        return None
    return {name: getattr(code, name) for name in ("commit", "branch", "remote", "dirty", "digest", "problem")}


def _codes(ledger: Ledger, sweep: str) -> dict[int, CodeFrozen]:
    return {fact.launch: fact for fact in ledger.facts(sweep, CodeFrozen) if isinstance(fact, CodeFrozen)}


def _commands(ledger: Ledger, sweep: str) -> dict[int, Sequence[str]]:
    facts = (fact for fact in ledger.facts(sweep, LaunchPlanned) if isinstance(fact, LaunchPlanned))
    return {fact.first_run: fact.argv for fact in facts if fact.argv is not None}
