"""``hpcorch compare``"""

from __future__ import annotations

import click

from hpcorch.cli.shared.comparison import write_comparison
from hpcorch.cli.shared.options import (
    Place,
    csv_option,
    examples,
    json_option,
    pass_place,
    refresh_option,
    states_option,
    where_option,
)
from hpcorch.ledger import LAST, Ledger
from hpcorch.services.reports.compare import compare
from hpcorch.services.selection.conditions import parse_condition
from hpcorch.services.selection.selectors import parse_selector


@click.command(
    epilog=examples(
        "hpcorch compare last --sort result --reverse",
        "hpcorch compare 20261123-0445 20261124 --where 'result>=0.9'",
        "hpcorch compare last --csv > runs.csv",
    )
)
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
@states_option("Only runs in these states, such as CD.")
@where_option
@click.option("--sort", metavar="COLUMN", help="Sort by this column; runs without a value come last.")
@click.option("-r", "--reverse", is_flag=True, help="Sort the largest first.")
@refresh_option
@json_option
@csv_option
@pass_place
def command(
    place: Place,
    *,
    selectors: tuple[str, ...],
    states: str | None,
    conditions: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    refresh: bool,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Show runs of sweeps side by side.

    There is one row per run, and a column for each swept parameter, and for the result or each value of a result
    that is a mapping (result.loss). Where a sweep and a rerun of it are given, runs of the rerun have the place of
    those that they repeat.
    """
    chosen = [parse_selector(selector, states) for selector in selectors or (LAST,)]
    like = [parse_condition(text) for text in conditions]
    with Ledger.open(place.ledger_path()) as ledger:
        found = compare(ledger, chosen, conditions=like, sort=sort, descending=reverse, refresh=refresh)
    several = len({run.sweep for run in found.runs}) > 1
    write_comparison(found, as_json=as_json, as_csv=as_csv, sweeps=several)
    return found.exit_code
