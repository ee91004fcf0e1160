"""``hpcorch status``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import (
    Place,
    examples,
    json_option,
    pass_place,
    quiet_option,
    refresh_option,
    selector_argument,
    states_option,
)
from hpcorch.cli.shared.runs import runs_table, write_heading
from hpcorch.ledger import Ledger
from hpcorch.model.value_text import agreeing, counted
from hpcorch.services.reports.status import StatusReport, report_status
from hpcorch.services.selection.selectors import parse_selector, select_indices

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
    help=f"At most this many runs, those that did not complete first; 0 for all. By default {_LIMIT} in a table.",
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
    """Show the state of a sweep and its runs.

    Answers from the journals; with --refresh, asks Slurm first, and exits with 3 if Slurm does not answer. Exits
    with 1 if a selected run is over and did not complete.
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
    output.notes([*status.refresh.notices, *status.advices])
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
        more = f"{counted(status.left_out, 'more run')} {agreeing(status.left_out, 'is', 'are')}"
        output.note(
            f"{more} selected; those that did not end well come first: name some, as in last/0-9 or -s F, or give"
            " --limit 0 to see all"
        )
