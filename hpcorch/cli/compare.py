"""``hpcorch compare``"""

from __future__ import annotations

import click

from hpcorch.cli import output
from hpcorch.cli.options import (
    Place,
    csv_option,
    examples,
    json_option,
    pass_place,
    refresh_option,
    states_option,
    where_option,
)
from hpcorch.cli.text import value_text
from hpcorch.ledger import LAST, Ledger
from hpcorch.services.compare import Comparison, compare
from hpcorch.services.select import parse_selector
from hpcorch.services.where import parse_condition


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

    A row a run; a column for each swept parameter, and for the result or each value of a result that is a mapping
    (result.loss).
    """
    chosen = [parse_selector(selector, states) for selector in selectors or (LAST,)]
    like = [parse_condition(text) for text in conditions]
    with Ledger.open(place.ledger_path()) as ledger:
        found = compare(ledger, chosen, conditions=like, sort=sort, descending=reverse, refresh=refresh)
    several = len({run.sweep for run in found.runs}) > 1
    write_comparison(found, as_json=as_json, as_csv=as_csv, sweeps=several)
    return found.exit_code


def write_comparison(found: Comparison, *, as_json: bool, as_csv: bool, sweeps: bool) -> None:
    """Print runs side by side in the form that is asked for.

    :param sweeps: whether the table for people names each run's sweep
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    rows = [found.row(run) for run in found.runs]
    if as_json:
        output.write_json(found.as_plain())
    elif as_csv:
        output.write_csv(found.columns, ([_cell(value) for value in row] for row in rows))
    else:
        first = 0 if sweeps else 1
        table = output.Table(
            columns=found.columns[first:],
            rows=[[value_text(value) for value in row[first:]] for row in rows],
            flexible=frozenset((*found.params, *found.results)),
        )
        output.write_table(table)
    output.notes(found.notices)


def _cell(value: object) -> object:
    """Numbers and text as CSV has them; other values as JSON."""
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else value_text(value)
