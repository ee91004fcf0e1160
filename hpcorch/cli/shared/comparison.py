"""Runs side by side, in the form that is asked for."""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.csv_output import write_csv
from hpcorch.cli.shared.output import value_text
from hpcorch.services.reports.compare import Comparison


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
        write_csv(found.columns, rows)
    else:
        first = 0 if sweeps else 1
        table = output.Table(
            columns=found.columns[first:],
            rows=[[value_text(value) for value in row[first:]] for row in rows],
            flexible=frozenset((*found.params, *found.results)),
        )
        output.write_table(table)
    output.notes(found.notices)
