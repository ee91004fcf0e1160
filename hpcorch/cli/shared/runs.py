"""Sweeps and their runs as people look at them: the heading of a sweep, and a table with a row a run."""

from __future__ import annotations

from collections.abc import Iterable

from hpcorch.cli.shared import output
from hpcorch.cli.shared.output import ago, counts_text, duration, local_time, value_text
from hpcorch.model.entities import SBATCH
from hpcorch.model.value_text import printable
from hpcorch.services.reports.reruns import rerun_text
from hpcorch.services.reports.status import RunReport, SweepReport


def runs_table(runs: Iterable[RunReport]) -> output.Table:
    """Runs as people look at them."""
    return output.Table(
        columns=("run", "state", "overrides", "node", "elapsed", "result"),
        rows=[_row(report) for report in runs],
        flexible=frozenset({"overrides", "result"}),
    )


def write_heading(report: SweepReport) -> None:
    """What there is to say about a sweep as a whole."""
    sweep = report.summary.sweep
    output.write(title(report))
    tags = f", tagged {', '.join(sweep.tags)}" if sweep.tags else ""
    output.write(printable(f"created {local_time(sweep.created_at)} by {sweep.user} on {sweep.host}{tags}"))
    gone = "" if report.files.gone is None else f" ({report.files.in_short})"
    output.write(printable(f"in {report.files.layout.directory}{gone}"))
    if report.rerun is not None:
        output.write(printable(rerun_text(report.rerun)))
    output.write(_age(report))


def _age(report: SweepReport) -> str:
    if report.summary.sweep.sweeper != SBATCH:
        return f"as of {ago(report.age_s)}"
    if report.looked_at is None:
        return "Slurm was not asked yet; --refresh asks"
    return f"as of {ago(report.age_s)}, when Slurm was last asked"


def title(report: SweepReport) -> str:
    """One line on where a sweep stands."""
    summary = report.summary
    facts = [f"sweep {summary.sweep.id}", summary.sweep.name, summary.state.value, counts_text(summary.counts)]
    return printable("  ".join(facts))


def step_text(report: RunReport) -> str:
    """How far a run has come by its metrics and checkpoints; nothing if it keeps neither."""
    return "" if report.step is None else f"step {report.step}"


def _row(report: RunReport) -> list[str]:
    run = report.run
    return [
        str(run.run),
        run.state.value,
        " ".join(report.distinct),
        run.node or "",
        duration(report.elapsed_s),
        value_text(run.result) or _next_try(report) or run.error or run.reason or step_text(report),
    ]


def _next_try(report: RunReport) -> str:
    """When a run that only looks over is run again, and why it ended; or that it waits for its first submission."""
    retry = report.retry
    if retry is None:
        return ""
    if retry.is_first:
        return retry.reason
    count = f" ({retry.number} of {retry.of})" if retry.of else ""
    why = report.run.error or report.run.reason
    return f"will be retried at {local_time(retry.at)}{count}{f': {why}' if why else ''}"
