"""``hpcorch rm``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.acting import confirm
from hpcorch.cli.shared.options import Place, dry_run_option, examples, json_option, pass_place, yes_option
from hpcorch.ledger import Ledger
from hpcorch.model.ids import named_runs
from hpcorch.model.value_text import agreeing, counted, printable
from hpcorch.services.selection.selectors import parse_selector

if TYPE_CHECKING:
    from hpcorch.services.actions.removal import Removal

_MEGABYTE = 1e6
_LISTED = 5
_KEPT = (
    "results, metrics and configurations stay in the ledger, and in its backups; records, logs and checkpoints are"
    " in neither: what is removed cannot be had again, audited from its files, or reproduced"
)


@click.command(
    epilog=examples("hpcorch rm 20261123-044501-k7fw --dry-run", "hpcorch rm 20261123-044501-k7fw --yes")
)
@click.argument("selector", metavar="SWEEP")
@dry_run_option
@yes_option
@json_option
@pass_place
def command(place: Place, *, selector: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove the files of a sweep.

    That is its record, logs and checkpoints, and the directories of its runs with all that is in them, as far as
    they are in the sweep directory and yours. Symbolic links are removed and not followed; another sweep inside
    stays. Results, metrics and configurations stay in the ledger, which notes who removed the files, and when.

    A sweep whose runs are not over is refused. Runs that were never submitted are given up. Snapshots of code that
    no other sweep needs are removed by `hpcorch gc`.
    """
    from hpcorch.services.actions.removal import open_removal  # loads the way to Slurm

    with Ledger.open(place.ledger_path(), write=True) as ledger:
        remover = open_removal(ledger, parse_selector(selector))
        removal = remover.plan()
        if not yes:
            output.note(_KEPT)
        if not dry_run:
            confirm(f"remove {_amount(removal)}", yes=yes)
            removal = remover.carry_out(removal)
    if as_json:
        output.write_json({**removal.as_plain(), "done": not dry_run})
        return
    output.write(printable(f"{'would remove' if dry_run else 'removed'} {_amount(removal)}"))
    if removal.discarded:
        given_up = "would be given up" if dry_run else "given up"
        were = agreeing(len(removal.discarded), "was", "were")
        output.write(f"{named_runs(removal.discarded)}, which {were} never submitted: {given_up}")
    output.notes(f"left alone: {text}" for text in removal.left[:_LISTED])
    if len(removal.left) > _LISTED:
        more = len(removal.left) - _LISTED
        output.note(f"so {agreeing(more, 'was', 'were')} {more} more")


def _amount(removal: Removal) -> str:
    files = f"{counted(removal.files, 'file')} ({removal.size / _MEGABYTE:.3f} MB)"
    return f"{files} of sweep {removal.sweep} from {removal.directory}"
