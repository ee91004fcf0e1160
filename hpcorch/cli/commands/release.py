"""``hpcorch release``"""

from __future__ import annotations

import click

from hpcorch.cli.shared.acting import act
from hpcorch.cli.shared.options import (
    Place,
    examples,
    json_option,
    pass_place,
    selector_argument,
    states_option,
)
from hpcorch.model.actions import Action


@click.command(epilog=examples("hpcorch release last", "hpcorch release last/10-99 --json"))
@selector_argument
@states_option("Only runs in these states, such as PD,R.")
@json_option
@pass_place
def command(place: Place, *, selector: str, states: str | None, as_json: bool) -> int:
    """Let held runs start.

    Slurm gets one request, whatever the number of runs. Where a task executes several runs (runs_per_task), all
    waiting runs of its array are released, or none.
    """
    return act(place, Action.RELEASE, selector, states, as_json=as_json)
