"""``hpcorch status``"""

from __future__ import annotations

from collections.abc import Iterable

import click

from hpcorch.cli import output
from hpcorch.cli.options import (
    Place,
    examples,
    json_option,
    pass_place,
    quiet_option,
    refresh_option,
    selector_argument,
    states_option,
)
from hpcorch.cli.text import ago, counts_text, duration, local_time, printable, value_text
from hpcorch.ledger import Ledger
from hpcorch.model.entities import SBATCH
from hpcorch.services.report import RunReport, StatusReport, SweepReport, report_status
from hpcorch.services.select import parse_selector, select_indices

# Nobody reads more, and a million rows would take a minute.
_LIMIT = 100


@click.command(
    epilog=examples(
        "hpcorch status",
        "hpcorch status last/0-9 -s F,TO,OOM",
        "hpcorch status 20261123 --refresh --json",
        "hpcorch status -s F -q | xargs -n 1 hpcorch logs -n 20",
        "hpcorch status --limit 0",
    )
)
@selector_argument
@states_option("Only runs in these states, such as F,TO,R.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    help=f"At most so many runs, first those that did not end well; 0 for all. A table has {_LIMIT} unless told.",
)
@refresh_option
@json_option
@quiet_option
@pass_place
def command(
    place: Place,
    *,
    selector: str,
    states: str | None,
    limit: int | None,
    refresh: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Show where a sweep and its runs stand.

    Exits with 1 if a selected run is over and did not complete. Answers from the journals; --refresh asks Slurm,
    and exits with 3 if Slurm does not answer.
    """
    chosen = parse_selector(selector, states)
    ids_alone = quiet and not limit  # a million runs' ids need not wait for the runs
    most = 0 if ids_alone else _most(limit, table=not (as_json or quiet))
    with Ledger.open(place.ledger_path()) as ledger:
        status = report_status(ledger, chosen, refresh=refresh, limit=most)
        sweep = status.sweep.summary.sweep.id
        if ids_alone:
            output.write_ids(f"{sweep}/{run}" for run in select_indices(ledger, sweep, chosen))
    if as_json:
        output.write_json(status.as_plain())
    elif quiet:
        output.write_ids(f"{sweep}/{report.run.run}" for report in status.runs)
    else:
        _write(status)
    output.notes([*status.look.notices, *([status.advice] if status.advice else [])])
    return status.exit_code


def _most(limit: int | None, *, table: bool) -> int | None:
    if limit is None:
        return _LIMIT if table else None
    return limit or None


def _write(status: StatusReport) -> None:
    write_heading(status.sweep)
    output.write("")
    output.write_table(runs_table(status.runs))
    if status.left_out:
        output.note(
            f"{status.left_out} more runs are selected; those that did not end well come first: name some, as in"
            " last/0-9 or -s F, or give --limit 0 to see all"
        )


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
    output.write(printable(f"in {sweep.directory}"))
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
