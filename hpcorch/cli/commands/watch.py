"""``hpcorch watch``"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place, selector_argument, states_option
from hpcorch.cli.shared.output import CountsLines, value_text
from hpcorch.cli.shared.runs import runs_table, title
from hpcorch.ledger import Ledger
from hpcorch.model.ids import utc_now
from hpcorch.model.states import RunState
from hpcorch.model.value_text import printable
from hpcorch.services.reports.status import RunReport, StatusReport
from hpcorch.services.selection.selectors import parse_selector

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hpcorch.services.reports.follow_runs import Follower

# Lines of the terminal that are not rows of the table: title, a blank line, column names, how many are left out.
_BESIDE_ROWS = 5


@click.command(
    epilog=examples("hpcorch watch", "hpcorch watch last -s PD,R", "hpcorch watch last --json > changes")
)
@selector_argument
@states_option("Only runs that are in these states now, such as PD,R.")
@json_option
@pass_place
def command(place: Place, *, selector: str, states: str | None, as_json: bool) -> int:
    """Follow a sweep's runs as they go.

    Shows a live table on a terminal; elsewhere, prints a line for each change of a run's state (with --json, an
    object per line), until all runs are over. Exits like `hpcorch wait`. The runs do not depend on it.
    """
    from hpcorch.services.reports.follow_runs import Follower  # loads the way to Slurm

    chosen = parse_selector(selector, states)
    with Ledger.open(place.ledger_path()) as ledger, Follower(ledger, chosen, notify=output.note) as follower:
        if as_json or not sys.stdout.isatty():
            _write_changes(follower, as_json=as_json)
        else:
            _draw(follower)
        follower.tell(*follower.report().advices)
        return int(any(run.state is not RunState.COMPLETED for run in follower.runs()))


def _write_changes(follower: Follower, *, as_json: bool) -> None:
    lines = CountsLines(follower.sweep)
    known: dict[int, RunState] = {}
    for counts in follower.looks():
        for report in _changed(follower.report(), known):
            run = report.run
            if as_json:
                output.write_json({"time": utc_now(), **report.as_plain()})
            else:
                what = value_text(run.result) or run.error or run.reason or ""
                clock = time.strftime("%H:%M:%S")
                words = (clock, f"{run.run:>4}", f"{run.state.value:<13}", " ".join(report.distinct), what)
                output.write(printable("  ".join(words).rstrip()))
        sys.stdout.flush()
        lines.show(counts)


def _changed(status: StatusReport, known: dict[int, RunState]) -> Iterator[RunReport]:
    for report in status.runs:
        if known.get(report.run.run) is not report.run.state:
            known[report.run.run] = report.run.state
            yield report


def _draw(follower: Follower) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout)
    with Live(console=console, auto_refresh=False) as live:
        for _ in follower.looks():
            live.update(_picture(follower.report(), height=console.height), refresh=True)


def _picture(status: StatusReport, *, height: int) -> RenderableType:
    """The sweep's title and as many runs as fit: what is alive or went wrong before what waits or completed."""
    from rich.console import Group
    from rich.text import Text

    room = max(1, height - _BESIDE_ROWS)
    ranked = sorted(status.runs, key=_rank)
    shown = sorted(ranked[:room], key=lambda report: report.run.run)
    left = len(status.runs) - len(shown)
    foot = [Text(f"… and {left} more")] if left else []
    return Group(Text(title(status.sweep)), Text(""), output.drawn(runs_table(shown)), *foot)


def _rank(report: RunReport) -> tuple[int, int]:
    state = report.run.state
    if state is RunState.COMPLETED:
        return (3, -report.run.run)  # the latest ones
    if state.is_final:
        return (1, report.run.run)
    return (0 if state is RunState.RUNNING else 2, report.run.run)
