"""``hpcorch status``"""

from __future__ import annotations

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
from hpcorch.services.report import RunReport, StatusReport, SweepReport, report_status
from hpcorch.services.select import parse_selector


@click.command(
    epilog=examples(
        "hpcorch status",
        "hpcorch status last/0-9 -s F,TO,OOM",
        "hpcorch status 20261123 --refresh --json",
        "hpcorch status -s F -q | xargs -n 1 hpcorch logs -n 20",
    )
)
@selector_argument
@states_option("Only runs in these states, such as F,TO,R.")
@refresh_option
@json_option
@quiet_option
@pass_place
def command(place: Place, *, selector: str, states: str | None, refresh: bool, as_json: bool, quiet: bool) -> int:
    """Show where a sweep and its runs stand.

    Exits with 1 if a selected run is over and did not complete. Answers from the journals; --refresh asks Slurm,
    and exits with 3 if Slurm does not answer.
    """
    chosen = parse_selector(selector, states)
    with Ledger.open(place.ledger_path()) as ledger:
        status = report_status(ledger, chosen, refresh=refresh)
    if as_json:
        output.write_json(status.as_plain())
    elif quiet:
        output.write_ids(f"{report.run.sweep}/{report.run.run}" for report in status.runs)
    else:
        _write(status)
    output.notes(status.look.notices)
    return status.exit_code


def _write(status: StatusReport) -> None:
    write_heading(status.sweep)
    output.write("")
    output.write_table(
        output.Table(
            columns=("run", "state", "overrides", "node", "elapsed", "result"),
            rows=[_row(report) for report in status.runs],
            flexible=frozenset({"overrides", "result"}),
        )
    )


def write_heading(report: SweepReport) -> None:
    """What there is to say about a sweep as a whole."""
    sweep = report.summary.sweep
    facts = [f"sweep {sweep.id}", sweep.name, report.summary.state.value, counts_text(report.summary.counts)]
    output.write(printable("  ".join(facts)))
    tags = f", tagged {', '.join(sweep.tags)}" if sweep.tags else ""
    output.write(printable(f"created {local_time(sweep.created_at)} by {sweep.user} on {sweep.host}{tags}"))
    output.write(printable(f"in {sweep.directory}"))
    output.write(f"as of {ago(report.age_s)}")


def _row(report: RunReport) -> list[str]:
    run = report.run
    return [
        str(run.run),
        run.state.value,
        " ".join(report.distinct),
        run.node or "",
        duration(report.elapsed_s),
        value_text(run.result) or run.error or run.reason or "",
    ]
