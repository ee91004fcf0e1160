"""``hpcorch ls``"""

from __future__ import annotations

from datetime import datetime, timezone

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import (
    Place,
    examples,
    json_option,
    pass_place,
    quiet_option,
    refresh_option,
    states_option,
    where_option,
)
from hpcorch.cli.shared.output import ago, counts_text, local_time
from hpcorch.ledger import Ledger
from hpcorch.services.reports.status import SweepList, SweepReport, list_sweeps
from hpcorch.services.selection.conditions import parse_condition
from hpcorch.services.selection.selectors import parse_since, parse_states

_LIMIT = 20


@click.command(
    epilog=examples(
        "hpcorch ls --since 2d -s F,TO",
        "hpcorch ls --name train --tag paper --limit 0",
        "hpcorch ls --where 'model.lr>0.05' --where 'result>=0.9'",
        "hpcorch ls -q --since 1w | xargs -n 1 hpcorch status",
    )
)
@click.option("--since", metavar="TIME", help="Only sweeps created since: 30m, 12h, 2d, 1w, or a date.")
@states_option("Only sweeps in these states, such as F,TO,R.")
@click.option("--name", metavar="TEXT", help="Only sweeps whose name contains this, in any case.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only sweeps with this tag; repeat for several.")
@where_option
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    default=_LIMIT,
    show_default=True,
    help="At most this many; 0 for all.",
)
@click.option("--all", "refused", is_flag=True, help="Also sweeps that Slurm refused.")
@refresh_option
@json_option
@quiet_option
@pass_place
def command(
    place: Place,
    *,
    since: str | None,
    states: str | None,
    name: str | None,
    tags: tuple[str, ...],
    conditions: tuple[str, ...],
    limit: int,
    refused: bool,
    refresh: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """List sweeps, the latest first.

    Reads the journals of sweeps that are not over; with --refresh, asks Slurm about them, too.
    """
    wanted = None if states is None else parse_states(states)
    moment = None if since is None else parse_since(since, datetime.now(timezone.utc))
    like = [parse_condition(text) for text in conditions]
    with Ledger.open(place.ledger_path()) as ledger:
        found = list_sweeps(
            ledger,
            limit=limit or None,
            since=moment,
            states=wanted,
            name=name,
            tags=tags,
            conditions=like,
            refused=refused,
            refresh=refresh,
        )
    if as_json:
        output.write_json([sweep.as_plain() for sweep in found.sweeps])
    elif quiet:
        output.write_ids(sweep.summary.sweep.id for sweep in found.sweeps)
    else:
        _write(found, limit)
    output.notes(filter(None, [*found.refresh.notices, found.missing]))
    return found.refresh.exit_code


def _write(found: SweepList, limit: int) -> None:
    if not found.sweeps:
        output.note("no sweep matches; `hpcorch ls --all` without filters lists all")
        return
    output.write_table(
        output.Table(
            columns=("sweep", "name", "state", "runs", "counts", "created", "as of", "tags"),
            rows=[_row(sweep) for sweep in found.sweeps],
            flexible=frozenset({"name", "counts", "tags"}),
            spared=("created", "runs", "as of"),  # the id begins with a time, and the counts sum up
        )
    )
    if any(sweep.refusal is not None for sweep in found.sweeps):
        output.note("a sweep that Slurm refused stays PLANNED: `hpcorch status SWEEP` says why, and what to do")
    if any(sweep.files.gone is not None and not sweep.files.was_removed for sweep in found.sweeps):
        output.note("directories of sweeps are gone: `hpcorch status SWEEP` says what can be done")
    if found.more:
        output.note(f"these are the latest {limit}; --limit 0 lists all")


def _row(report: SweepReport) -> list[str]:
    sweep = report.summary.sweep
    return [
        sweep.id,
        sweep.name,
        report.summary.state.value,
        str(report.summary.runs),
        _counts(report),
        local_time(sweep.created_at),
        ago(report.age_s),
        ", ".join(sweep.tags),
    ]


def _counts(report: SweepReport) -> str:
    refused = "" if report.refusal is None else f" ({report.refusal.runs} refused by Slurm)"
    gone = "" if report.files.gone is None else f" ({report.files.in_short})"
    return f"{counts_text(report.summary.counts)}{refused}{gone}"
