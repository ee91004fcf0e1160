"""``hpcorch show``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place, selector_argument
from hpcorch.cli.shared.output import duration, local_time, shell_text, value_text
from hpcorch.cli.shared.runs import write_heading
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import CodeFrozen, Event, kind_of, to_body
from hpcorch.model.value_text import counted, printable, quoted
from hpcorch.services.json_values import attempt_name, origin_as_plain, restored_from, submission_as_plain
from hpcorch.services.reports.attempt_history import CheckpointHistory, ExecutedCommand
from hpcorch.services.reports.detail import RunDetail, SweepDetail, report_detail
from hpcorch.services.reports.status import RunReport
from hpcorch.services.selection.selectors import parse_selector

_METRIC_PARTS = ("last", "min", "max")

# A full disk fails each save; a few of them tell it all.
_MOST_TROUBLES = 10


@click.command(
    epilog=examples(
        "hpcorch show", "hpcorch show last/3", "hpcorch show last/3 --events", "hpcorch show last --json"
    )
)
@selector_argument
@click.option("--events", is_flag=True, help="Show every event, too, in the order in which they became known.")
@json_option
@pass_place
def command(place: Place, *, selector: str, events: bool, as_json: bool) -> None:
    """Show everything about a sweep or one run.

    For a sweep: where it came from, its launches and submissions. For a run: overrides, seed, composed
    configuration, directory, metrics, the commands of `hpcorch exec`, and each attempt with its part of the log and
    the checkpoint that it began from.
    """
    chosen = parse_selector(selector)
    with Ledger.open(place.ledger_path()) as ledger:
        detail = report_detail(ledger, chosen, events=events)
    if as_json:
        output.write_json(detail.as_plain())
    elif isinstance(detail, RunDetail):
        _write_run(detail)
    else:
        _write_sweep(detail)
    output.notes([*detail.refresh.notices, *detail.advices])


def _write_sweep(detail: SweepDetail) -> None:
    report = detail.status.sweep
    sweep = report.summary.sweep
    write_heading(report)
    origin = {**origin_as_plain(sweep), "argv": shell_text(sweep.argv), "versions": _pairs(sweep.versions)}
    _write_facts({"backend": sweep.backend.value, **origin})
    for launch in detail.launches:
        _head(f"launch of {counted(launch.count, 'run')} from {launch.first_run} on")
        given = {key: value for key, value in launch.options.items() if value not in (None, [], {})}
        code = _code(detail.codes.get(launch.first_run))
        argv = detail.commands.get(launch.first_run)
        added = {"argv": None if argv is None else shell_text(argv), "planned": local_time(launch.planned_at)}
        _write_facts({**added, "code": code, "task": launch.task_digest, **given})
    for submission in detail.submissions:
        facts = submission_as_plain(submission)
        _head(f"submission {facts.pop('submission')}")
        _write_facts({**facts, "intended_at": local_time(submission.intended_at)})
    _write_events(detail.events)


def _write_run(detail: RunDetail) -> None:
    run = detail.run.run
    output.write(
        printable(f"run {run.run} of sweep {run.sweep}  {detail.sweep.summary.sweep.name}  {run.state.value}")
    )
    _write_facts({"rerun of": detail.rerun_of, **_run_facts(detail.run), "code": _code(detail.code)})
    for attempt in detail.run.attempts:
        _head(f"attempt {attempt_name(attempt)}")
        _write_facts(_attempt_facts(attempt, keeps_checkpoints=bool(detail.checkpoints.saved)))
        _write_facts({"code": detail.live_scripts.get(attempt_name(attempt))})
    _write_commands(detail.commands)
    _write_metrics(detail.run.run)
    _write_checkpoints(detail.checkpoints)
    _head("configuration")
    for key, value in _leaves(detail.config):
        output.write(printable(f"  {key:<30} {quoted(value)}"))
    _write_events(detail.events)


def _code(code: CodeFrozen | None) -> str | None:
    """Which code: the commit, if git knows one, and the snapshot."""
    if code is None:
        return None
    snapshot = f"snapshot {code.digest[:12]}"
    if code.commit is None:
        return f"{snapshot} (no commit: {code.lacks_commit})"
    changed = " with uncommitted changes" if code.dirty else ""
    return f"commit {code.commit}{f' on {code.branch}' if code.branch else ''}{changed}, {snapshot}"


def _run_facts(report: RunReport) -> dict[str, Any]:
    run = report.run
    return {
        "overrides": shell_text(run.overrides),
        "seed": f"{run.seed} ({run.seed_source})",
        "config_digest": run.config_digest,
        "directory": run.directory,
        "job_id": run.job_id,
        "node": run.node,
        "started": local_time(run.started_at),
        "ended": local_time(run.ended_at),
        "elapsed": duration(report.elapsed_s),
        "exit_code": run.exit_code,
        "result": run.result,
        "error": run.error,
        "reason": run.reason,
        "log": run.log,
    }


def _attempt_facts(attempt: Attempt, *, keeps_checkpoints: bool) -> dict[str, Any]:
    end = "" if attempt.log_end is None else attempt.log_end
    log = None if attempt.log is None else f"{attempt.log} (bytes {attempt.log_start or 0}-{end})"
    return {
        "state": attempt.state.value,
        "job_id": attempt.job_id,
        "node": attempt.node,
        "pid": attempt.pid,
        "started": local_time(attempt.started_at),
        "ended": local_time(attempt.ended_at),
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "slurm_state": attempt.slurm_state,
        "reason": attempt.reason,
        "seed": attempt.seed,
        "log": log,
        "error": attempt.error,
        "restored": _restored_text(attempt) if keeps_checkpoints and attempt.seed is not None else None,
        "last checkpoint": None if attempt.checkpoint is None else _checkpoint_text(attempt),
    }


def _restored_text(attempt: Attempt) -> str:
    if attempt.restored_step is None:
        return "nothing: it started from the beginning"
    return f"step {attempt.restored_step}, saved by {restored_from(attempt)}"


def _checkpoint_text(attempt: Attempt) -> str:
    return f"step {attempt.checkpoint_step}, {attempt.checkpoint}"


def _write_commands(commands: Sequence[ExecutedCommand]) -> None:
    if not commands:
        return
    _head("commands")
    for one in commands:
        end = "has not ended" if one.exit_code is None else f"exit code {one.exit_code}"
        after = f" after {duration(one.seconds)}" if one.seconds is not None else ""
        output.write(f"  {one.attempt} step {one.step}: {end}{after}")
        output.write(f"    {shell_text(one.called)}")  # whole, however long: to be pasted into a shell
        if one.problem is not None:
            output.write(f"    {printable(one.problem)}")


def _write_metrics(run: Run) -> None:
    if not run.metrics:
        return
    _head("metrics")
    rows = [
        [name, *(_value_at(metric.get(part)) for part in _METRIC_PARTS)] for name, metric in run.metrics.items()
    ]
    columns = ("metric", *_METRIC_PARTS)
    output.write_table(output.Table(columns=columns, rows=rows, flexible=frozenset({"metric"})))


def _value_at(entry: Sequence[Any] | None) -> str:
    return "" if entry is None else f"{value_text(entry[1])} at step {entry[0]}"


def _write_checkpoints(history: CheckpointHistory) -> None:
    if not history.saved and not history.troubles:
        return
    _head("checkpoints")
    output.write(f"  {len(history.saved)} saved, {history.kept} of them kept")
    if hidden := len(history.troubles[:-_MOST_TROUBLES]):
        output.write(f"  {hidden} more that failed or are broken: see --events")
    for trouble in history.troubles[-_MOST_TROUBLES:]:
        what = f"{trouble.subject} {trouble.problem}, says {trouble.attempt}: {trouble.reason}"
        output.write(f"  {printable(what)}")


def _write_events(events: Sequence[Event] | None) -> None:
    if events is None:
        return
    _head("events")
    rows = [
        [local_time(event.time), event.source, str(event.seq), kind_of(event.fact), _body_text(event)]
        for event in events
    ]
    columns = ("time", "source", "seq", "kind", "content")
    output.write_table(output.Table(columns=columns, rows=rows, flexible=frozenset({"content"})))


def _body_text(event: Event) -> str:
    return _pairs({key: value for key, value in to_body(event.fact).items() if value not in ("", [], {})})


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value_text(value)}" for key, value in values.items())


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A configuration as dotted keys and values, as overrides are written."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _head(text: str) -> None:
    output.write(f"\n{text}")


def _write_facts(facts: Mapping[str, Any]) -> None:
    """Names and values below each other; those without a value are left out."""
    for name, text in _texts(facts.items()):
        output.write(f"  {printable(name):<16} {printable(text)}")


def _texts(facts: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    texts = [(name, value_text(value)) for name, value in facts]
    return [(name, text) for name, text in texts if text]
