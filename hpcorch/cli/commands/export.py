"""``hpcorch export``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.csv_output import write_csv
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.errors import UsageError
from hpcorch.ledger import Ledger, QueryResult
from hpcorch.model.value_text import counted, printable, to_json
from hpcorch.services.reports.tables import known_tables, read_table, unique
from hpcorch.services.selection.selectors import parse_selector

_MEGABYTE = 1e6


@click.group(
    epilog=examples(
        "hpcorch export csv runs attempts",
        "hpcorch export json runs",
        "hpcorch export bundle last reviewed/",
    )
)
def command() -> None:
    """Write tables, or everything that proves a run, to files."""


_tables_argument = click.argument("tables", nargs=-1, metavar="[TABLE]...")
_sweep_option = click.option("--sweep", metavar="SWEEP", help="Only rows of this sweep.")
_into_option = click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIRECTORY",
    help="The folder to write to; by default the current one.",
)


@command.command("csv", epilog=examples("hpcorch export csv runs attempts", "hpcorch export csv --into tables/"))
@_tables_argument
@_sweep_option
@_into_option
@json_option
@pass_place
def csv_files(place: Place, *, tables: tuple[str, ...], sweep: str | None, into: Path, as_json: bool) -> None:
    """Write tables of the ledger as CSV, one file each.

    The tables are sweeps, runs, params, attempts, checkpoints, metrics, submissions, failures and events; without a
    name, all of them. A file that exists is not overwritten.
    """
    _export(place, tables, sweep, into, "csv", as_json=as_json)


@command.command("json", epilog=examples("hpcorch export json runs --sweep last"))
@_tables_argument
@_sweep_option
@_into_option
@json_option
@pass_place
def json_files(place: Place, *, tables: tuple[str, ...], sweep: str | None, into: Path, as_json: bool) -> None:
    """Write tables of the ledger as JSON, one file each: a list with one object per row.

    The tables are those of `hpcorch export csv`.
    """
    _export(place, tables, sweep, into, "json", as_json=as_json)


def _export(
    place: Place, tables: tuple[str, ...], sweep: str | None, into: Path, form: str, *, as_json: bool
) -> None:
    chosen = known_tables(tables)
    written: dict[str, int] = {}
    with Ledger.open(place.ledger_path()) as ledger:
        only = None if sweep is None else ledger.sweep(sweep).sweep.id
        for table in chosen:
            path = into / f"{table}.{form}"
            found = read_table(ledger, table, sweep=only)
            _write_table(path, found, form)
            written[str(path)] = len(found.rows)
    if as_json:
        output.write_json({"files": written})
        return
    for name, rows in written.items():
        output.write(printable(f"{name}: {counted(rows, 'row')}"))


def _write_table(path: Path, found: QueryResult, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            if form == "csv":
                write_csv(found.columns, found.rows, file)
            else:
                file.write(to_json([_object(found, row) for row in found.rows], indent=1))
    except FileExistsError:
        raise UsageError(f"the file {path} exists already: remove it, or name another folder with --into") from None


def _object(found: QueryResult, row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(unique(found.columns), row, strict=True))


@command.command(
    epilog=examples(
        "hpcorch export bundle last reviewed/",
        "hpcorch export bundle last/3 run3/ --checkpoints all",
        "hpcorch audit --bundle reviewed/",
    )
)
@click.argument("selector", metavar="RUN|SWEEP")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--checkpoints",
    type=click.Choice(["none", "last", "all"]),
    default="last",
    show_default=True,
    help="Which checkpoints of each run to include.",
)
@json_option
@pass_place
def bundle(place: Place, *, selector: str, directory: Path, checkpoints: str, as_json: bool) -> int:
    """Write everything that proves a sweep or some of its runs into a new DIRECTORY.

    Writes journals, configurations, the frozen code, the environment, results, checkpoints, a report, and a small
    ledger made from these. `hpcorch audit --bundle DIRECTORY` checks it on any machine. Logs are left out. The last
    line printed vouches for all of it. Exits with 1 if a finding of the audit is worse than a note.
    """
    from hpcorch.cli.shared.audit_report import markdown
    from hpcorch.services.audit.bundle import write_bundle
    from hpcorch.services.audit.evidence import Checkpoints

    with Ledger.open(place.ledger_path()) as ledger:
        made = write_bundle(
            ledger, parse_selector(selector), directory, checkpoints=Checkpoints(checkpoints), report=markdown
        )
    if as_json:
        output.write_json(made.as_plain())
    else:
        output.write(printable(f"{made.directory}: {made.files} files, {made.size / _MEGABYTE:.1f} MB"))
        output.write(f"digest of its SHA256SUMS: {made.digest}")
    if made.audit.exit_code:
        output.note(f"the audit found something: see {made.directory / 'report.md'}")
    return made.audit.exit_code
