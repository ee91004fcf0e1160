"""How runs ended, and what to tell a person about those that failed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch import tunables
from hpcorch.journal.files import open_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.ledger.store import Ledger
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import CONTROL_SOURCE, AttemptEnded, RunReused
from hpcorch.model.ids import named_runs
from hpcorch.model.states import AttemptOutcome, AttemptState, RunState
from hpcorch.model.value_text import counted
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.logs.attempts import error_file
from hpcorch.services.logs.paths import with_log, with_present_log, with_unclaimed_logs

TAIL_LINES = 10
_REPORTED_RUNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run with its deciding attempt and that attempt's own last word, where there are any."""

    run: Run
    attempt: Attempt | None
    end: AttemptEnded | None


def read_outcomes(ledger: Ledger, layout: SweepLayout, sweep: str, indices: Sequence[int]) -> list[Outcome]:
    """The outcomes of these runs, in their order.

    The journals are read again for what the tables leave out: pickled results and errors.
    """
    deciding: dict[int, Attempt] = {}
    attempts = with_unclaimed_logs(ledger, ledger.sweep(sweep).sweep, ledger.attempts(sweep))
    ends = ledger.log_ends(sweep)
    for attempt in sorted(attempts, key=lambda item: (item.submission, item.restart)):
        if attempt.state not in (AttemptState.SKIPPED, AttemptState.SUPERSEDED):
            end = attempt.log_end if attempt.log_end is not None else ends.get(attempt.id)
            deciding[attempt.run] = with_present_log(replace(attempt, log_end=end), layout)
    runs = {run.run: run for run in ledger.runs(sweep, indices=indices)}
    reused = _reused(layout) if any(run.reused_from for run in runs.values()) else {}
    return [
        Outcome(run=runs[index], attempt=None, end=reused.get(index))
        if runs[index].reused_from
        else _outcome(layout, runs[index], deciding.get(index))
        for index in indices
    ]


def _reused(layout: SweepLayout) -> dict[int, AttemptEnded]:
    """The results that runs of a sweep took over, as their own attempts would have recorded them."""
    segment = read_segment(layout.control, sweep="", source=CONTROL_SOURCE, offset=0)
    facts = (event.fact for event in segment.events)
    return {
        fact.run: AttemptEnded(
            outcome=AttemptOutcome.COMPLETED.value,
            exit_code=0,
            result=fact.result,
            result_pickle=fact.result_pickle,
            result_file=fact.result_file,
            result_digest=fact.result_digest,
            working_dir=fact.working_dir,
            task_name=fact.task_name,
        )
        for fact in facts
        if isinstance(fact, RunReused)
    }


def _outcome(layout: SweepLayout, run: Run, attempt: Attempt | None) -> Outcome:
    end = None
    if attempt is not None and run.state.is_final:
        path = layout.journal(attempt.id)
        if path.exists():
            segment = read_segment(path, sweep=run.sweep, source=str(attempt.id), offset=0, archived_only=True)
            end = next((event.fact for event in segment.events if isinstance(event.fact, AttemptEnded)), None)
    run = with_log(with_present_log(run, layout), [attempt] if attempt is not None else [])
    return Outcome(run=run, attempt=attempt, end=end)


def failure_text(outcome: Outcome) -> str:
    """What a person needs to know about a failed run: which, why, where the log is, its last lines."""
    run = outcome.run
    values = " ".join(run.overrides)
    lines = [f"run {run.run}{f' ({values})' if values else ''} {_ending(run)}"]
    if run.log is not None:
        lines.append(f"  log: {run.log}")
        lines.extend(f"  | {line}" for line in log_tail(outcome))
        if (errors := error_file(Path(run.log))) is not None:
            lines.append(f"  standard error: {errors}")
            lines.extend(f"  | {line}" for line in tail(errors, start=0, end=None, lines=TAIL_LINES))
    return "\n".join(lines)


def failure_report(failed: Sequence[Outcome], *, total: int, sweep: str) -> str:
    """One text about all failed runs of a launch, the first few in full."""
    shown = [failure_text(outcome) for outcome in failed[:_REPORTED_RUNS]]
    if len(failed) > _REPORTED_RUNS:
        shown.append(f"and {named_runs([outcome.run.run for outcome in failed[_REPORTED_RUNS:]])}")
    head = (
        f"{len(failed)} of {counted(total, 'run')} did not complete (sweep {sweep}; see `hpcorch status {sweep}`)"
    )
    return "\n".join([head, *shown])


def _ending(run: Run) -> str:
    if run.state is RunState.FAILED:
        return f"failed: {run.error or run.reason or f'exit code {run.exit_code}'}"
    return f"ended as {run.state.value}{f': {run.reason}' if run.reason else ''}"


def log_tail(outcome: Outcome) -> list[str]:
    """The last lines of the deciding attempt's own part of its log; none if the log cannot be read."""
    attempt = outcome.attempt
    if attempt is None or attempt.log is None:
        return []
    return tail(Path(attempt.log), start=attempt.log_start or 0, end=attempt.log_end, lines=TAIL_LINES)


def tail(path: Path, *, start: int, end: int | None, lines: int) -> list[str]:
    """The last lines of a byte range of a file; none if it cannot be read."""
    try:
        with open_regular(path) as file:
            stop = file.seek(0, os.SEEK_END) if end is None else end
            file.seek(max(start, stop - tunables.LOG_TAIL_BYTES))
            content = file.read(stop - file.tell())
    except OSError:
        return []
    return content.decode("utf-8", "replace").splitlines()[-lines:]


def failures(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that are over and did not complete."""
    return [o for o in outcomes if o.run.state.is_final and o.run.state is not RunState.COMPLETED]
