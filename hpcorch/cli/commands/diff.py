"""``hpcorch diff``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.cli.shared.output import value_text
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.value_text import printable
from hpcorch.services.audit.diff import RunDifference, diff_runs
from hpcorch.services.selection.selectors import parse_selector


@click.command(epilog=examples("hpcorch diff last/0 last/1", "hpcorch diff 20261123-0445/3 last/3 --json"))
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@json_option
@pass_place
def command(place: Place, *, first: str, second: str, as_json: bool) -> int:
    """Show how two runs differ.

    Shows configuration, seed, the environment at submission, inputs, result and metrics side by side, and the code
    file by file, as git does. Exits with 0 if nothing differs, and with 1 otherwise.
    """
    with Ledger.open(place.ledger_path()) as ledger:
        found = diff_runs(ledger, parse_selector(first), parse_selector(second))
    if as_json:
        output.write_json(found.as_plain())
    else:
        _write(found)
    output.notes(found.unknown)
    return found.exit_code


def _write(found: RunDifference) -> None:
    runs = (_name(found.first), _name(found.second))
    output.write(f"first   {runs[0]}\nsecond  {runs[1]}\n")
    for section, changes in found.sections.items():
        if changes:
            rows = [[change.what, value_text(change.before), value_text(change.after)] for change in changes]
            columns = (section, "first", "second")
            output.write_table(output.Table(columns=columns, rows=rows, flexible=frozenset(columns)))
            output.write("")
    for change in found.code:
        if change.text is None:
            output.write(printable(f"{change.path}: binary file {change.change}"))
            continue
        for line in change.text.splitlines():
            output.write(printable(line.expandtabs()))
    if not found.exit_code:
        output.write(f"{runs[0]} and {runs[1]} do not differ")


def _name(run: Run) -> str:
    return f"{run.sweep}/{run.run}"
