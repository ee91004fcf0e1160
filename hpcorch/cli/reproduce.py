"""``hpcorch reproduce``"""

from __future__ import annotations

from pathlib import Path

import click

from hpcorch.cli import output
from hpcorch.cli.options import Place, examples, json_option, pass_place
from hpcorch.cli.text import printable, value_text
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR
from hpcorch.ledger import Ledger
from hpcorch.services.local import Interrupted
from hpcorch.services.original import Original, find_original
from hpcorch.services.reproduce import Reproduction, reproduce
from hpcorch.services.sameness import Sameness
from hpcorch.services.select import parse_selector

_INTERRUPTED = 128


@click.command(
    epilog=examples(
        "hpcorch reproduce last/3 again/",
        "hpcorch reproduce 20261123-0445/0 again/ --tolerance 1e-6",
        "hpcorch reproduce last/3 again/ --bundle reviewed/",
    )
)
@click.argument("run", metavar="RUN")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-9,
    show_default=True,
    help="Numbers that differ by less, relative to the larger one, count as equal within tolerance.",
)
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIRECTORY", help="Take the run from this bundle."
)
@json_option
@pass_place
def command(
    place: Place, *, run: str, directory: Path, tolerance: float, bundle: Path | None, as_json: bool
) -> int:
    """Run a run again from what was frozen, and compare.

    Code, configuration and seed are those of RUN, which stays as it is; the repetition is a sweep of its own in
    DIRECTORY, on this machine. State, result, metrics and the last checkpoint are compared. Exits with 0 if they
    are identical, or equal within tolerance, and with 1 otherwise.

    With --bundle the run is taken from what `hpcorch export bundle` wrote, and the ledger of the repetition is made
    in DIRECTORY: nothing else of the original is needed here but its packages.
    """
    original, ledger_path = _original(place, run, bundle, directory)
    _tell_environment(original)
    with Ledger.open(ledger_path, write=True, create=True) as ledger:
        try:
            found = reproduce(ledger, original, directory, tolerance=tolerance)
        except Interrupted as stop:
            return _INTERRUPTED + stop.signal_number
    if as_json:
        output.write_json(found.as_plain())
    else:
        _write(found)
    return int(found.sameness is Sameness.DIFFERENT)


def _original(place: Place, run: str, bundle: Path | None, directory: Path) -> tuple[Original, Path]:
    """The run to repeat, and the ledger that takes the repetition."""
    if bundle is None:
        path = place.ledger_path()
        with Ledger.open(path) as ledger:
            return find_original(ledger, parse_selector(run)), path
    from hpcorch.services.bundle_audit import open_bundle

    received = open_bundle(bundle)
    with Ledger.open(received.ledger) as ledger:
        original = find_original(ledger, parse_selector(run), lambda _: received.place)
    return original, directory.absolute() / STATE_DIR / LEDGER_NAME


def _tell_environment(original: Original) -> None:
    if original.differences is None:
        output.note("the environment that the run was submitted in is not on record: it cannot be compared")
        return
    for one in original.differences:
        output.note(f"the environment differs ({one.severity.value}): {one}")


def _write(found: Reproduction) -> None:
    one = found.original.run
    output.write(printable(f"{found.sweep}/0 repeats {one.sweep}/{one.run}: {found.sameness.value}"))
    rows = [
        [entry.what, value_text(entry.before), value_text(entry.after), entry.sameness.value]
        for entry in found.compared
    ]
    columns = ("what", "original", "repeated", "")
    output.write_table(output.Table(columns=columns, rows=rows, flexible=frozenset(columns[1:3])))
