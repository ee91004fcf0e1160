"""``hpcorch gc``"""

from __future__ import annotations

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.acting import confirm
from hpcorch.cli.shared.options import Place, dry_run_option, examples, json_option, pass_place, yes_option
from hpcorch.model.value_text import counted, printable
from hpcorch.services.actions.gc import Garbage, find_garbage, remove_garbage

_MEGABYTE = 1e6


@click.command(epilog=examples("hpcorch gc --dry-run", "hpcorch gc --yes"))
@dry_run_option
@yes_option
@json_option
@pass_place
def command(place: Place, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove snapshots of code that no sweep refers to.

    All ledgers in the project's .hpcorch folder count, and all sweep directories in the project's folder. A
    snapshot stays if any sweep in one of them refers to it, or if it is younger than a day.
    """
    garbage = find_garbage(place.ledger_path())
    what = f"remove {_amount(len(garbage.unused), garbage.size)}"
    if garbage.unused and not dry_run:
        confirm(f"{what} from {garbage.folder}", yes=yes)
        remove_garbage(garbage)
    if as_json:
        output.write_json({**garbage.as_plain(), "done": not dry_run})
    else:
        _write(garbage, what, dry_run=dry_run)


def _write(garbage: Garbage, what: str, *, dry_run: bool) -> None:
    for name, size in garbage.unused.items():
        output.write(printable(f"{name}  {size / _MEGABYTE:.3f} MB"))
    kept = f"{_amount(garbage.kept, garbage.kept_size)} kept in {garbage.folder}"
    if not garbage.unused:
        output.write(printable(f"nothing to remove; {kept}"))
    else:
        done = f"would {what}" if dry_run else what.replace("remove", "removed", 1)
        output.write(printable(f"{done}; {kept}"))


def _amount(count: int, size: int) -> str:
    return f"{counted(count, 'snapshot')} ({size / _MEGABYTE:.3f} MB)"
