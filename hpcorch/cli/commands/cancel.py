"""``hpcorch cancel``"""

from __future__ import annotations

import click

from hpcorch.cli.shared.acting import act
from hpcorch.cli.shared.options import (
    Place,
    dry_run_option,
    examples,
    json_option,
    pass_place,
    selector_argument,
    states_option,
    yes_option,
)
from hpcorch.model.actions import Action


@click.command(
    epilog=examples(
        "hpcorch cancel last",
        "hpcorch cancel last/3-5,9 --dry-run",
        "hpcorch cancel last -s PD -y",
        "hpcorch cancel last --checkpoint",
    )
)
@selector_argument
@states_option("Only runs in these states, such as PD,R.")
@click.option("--checkpoint", is_flag=True, help="Ask running runs to save a checkpoint and end; do not kill them.")
@yes_option
@dry_run_option
@json_option
@pass_place
def command(
    place: Place, *, selector: str, states: str | None, checkpoint: bool, yes: bool, dry_run: bool, as_json: bool
) -> int:
    """Cancel runs.

    Runs that are over stay as they are; a process of theirs that still runs is ended. Slurm gets one request,
    whatever the number of runs; of a local sweep, the pool or single runs are stopped. Tasks that execute several
    runs (runs_per_task) end single ones themselves, within seconds. Who asked is recorded, and `hpcorch status`
    shows it as the reason.

    With --checkpoint, waiting runs are cancelled, and running ones are asked (by SIGUSR2) to save a checkpoint and
    end. They take as long as they need. A run that ignores the request goes on: a second `hpcorch cancel`, without
    --checkpoint, kills it.
    """
    return act(
        place, Action.CANCEL, selector, states, as_json=as_json, yes=yes, dry_run=dry_run, checkpoint=checkpoint
    )
