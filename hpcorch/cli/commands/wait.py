"""``hpcorch wait``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place, selector_argument, states_option
from hpcorch.cli.shared.output import CountsLines
from hpcorch.cli.shared.runs import runs_table, title
from hpcorch.ledger import Ledger
from hpcorch.model.states import RunState
from hpcorch.services.reports.status import StatusReport
from hpcorch.services.selection.selectors import parse_selector


@click.command(
    epilog=examples(
        "hpcorch wait last && python plot.py", "hpcorch wait last/0-9 --timeout 600", "hpcorch wait last --json"
    )
)
@selector_argument
@states_option("Only runs that are in these states now, such as PD,R.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this long.")
@json_option
@pass_place
def command(place: Place, *, selector: str, states: str | None, timeout: float | None, as_json: bool) -> int:
    """Wait until runs are over.

    Exits with 0 if all selected runs completed, with 1 if one did not, and with 3 if they cannot be followed from
    here or the time is up. The runs do not depend on it: Ctrl-C stops only the waiting.
    """
    from hpcorch.services.reports.follow_runs import Follower  # loads the way to Slurm

    chosen = parse_selector(selector, states)
    with Ledger.open(place.ledger_path()) as ledger, Follower(ledger, chosen, notify=output.note) as follower:
        lines = CountsLines(f"waiting for {follower.sweep}")
        for counts in follower.looks(timeout_s=timeout):
            lines.show(counts)
        status = follower.report()
    if as_json:
        output.write_json(status.as_plain())
    else:
        _write(status)
    follower.tell(*status.advices)
    return int(any(report.run.state is not RunState.COMPLETED for report in status.runs))


def _write(status: StatusReport) -> None:
    output.write(title(status.sweep))
    left = [report for report in status.runs if report.run.state is not RunState.COMPLETED]
    if left:
        output.write("")
        output.write_table(runs_table(left))
