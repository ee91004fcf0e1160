"""``hpcorch collect``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.comparison import write_comparison
from hpcorch.cli.shared.options import (
    Place,
    csv_option,
    examples,
    json_option,
    pass_place,
    refresh_option,
    states_option,
)
from hpcorch.ledger import LAST, Ledger
from hpcorch.model.value_text import agreeing, counted
from hpcorch.services.reports.compare import compare
from hpcorch.services.selection.selectors import parse_selector


@click.command(
    epilog=examples(
        "hpcorch collect",
        "hpcorch collect last --csv > results.csv",
        "hpcorch collect last -s CD --json",
        "hpcorch collect 20261123-0445 20261124",
    )
)
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
@states_option("Only runs in these states, such as CD.")
@refresh_option
@json_option
@csv_option
@pass_place
def command(
    place: Place, *, selectors: tuple[str, ...], states: str | None, refresh: bool, as_json: bool, as_csv: bool
) -> int:
    """Print the results of sweeps.

    Prints each run with its swept parameters, its state and its result as JSON has it. In Python,
    hpcorch.collect(SWEEP) returns the objects themselves, as the launcher does. Exits with 1 if a selected run has
    not completed. Where a sweep and a rerun of it are given, runs of the rerun have the place of those that they
    repeat.
    """
    chosen = [parse_selector(selector, states) for selector in selectors or (LAST,)]
    with Ledger.open(place.ledger_path()) as ledger:
        found = compare(ledger, chosen, refresh=refresh)
    several = len({run.sweep for run in found.runs}) > 1
    write_comparison(found, as_json=as_json, as_csv=as_csv, sweeps=several)
    if found.unfinished:
        left = agreeing(found.unfinished, "is not over and has", "are not over and have")
        output.note(f"{found.unfinished} of {counted(len(found.runs), 'run')} {left} no result yet")
    return found.exit_code or int(not found.completed)
