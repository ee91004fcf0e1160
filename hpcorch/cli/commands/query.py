"""``hpcorch query``"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.csv_output import write_csv
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.cli.shared.output import value_text
from hpcorch.ledger import Ledger
from hpcorch.services.reports.tables import unique


@click.command(
    epilog=examples(
        "hpcorch query 'SELECT run, params, result FROM v_runs ORDER BY result DESC LIMIT 5'",
        "hpcorch query --csv 'SELECT key, value, avg(result) FROM v_params GROUP BY 1, 2' > means.csv",
        "hpcorch query --json 'SELECT * FROM v_failures'",
        "hpcorch query 'SELECT name, sql FROM sqlite_schema'",
    )
)
@click.argument("sql")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@pass_place
def command(place: Place, *, sql: str, as_json: bool, as_csv: bool) -> None:
    """Query the ledger in SQL.

    SQL is one SELECT statement of SQLite's; nothing can be changed. There are views for people: v_sweeps, v_runs,
    v_params, v_attempts, v_checkpoints, v_metrics, v_failures, v_submissions and v_events. The ledger is read as it
    is; `hpcorch ls` brings it up to date.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    with Ledger.open(place.ledger_path()) as ledger, _interruptible():
        answer = ledger.query(sql)
    if as_json:
        keys = list(unique(answer.columns))
        output.write_json([dict(zip(keys, row, strict=True)) for row in answer.rows])
    elif as_csv:
        write_csv(answer.columns, answer.rows)
    else:
        rows = [[value_text(value) for value in row] for row in answer.rows]
        output.write_table(output.Table(columns=answer.columns, rows=rows, flexible=frozenset(answer.columns)))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the program at once: SQLite does not return to Python before it has an answer."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
