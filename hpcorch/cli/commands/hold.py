"""``hpcorch hold``"""

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


@click.command(epilog=examples("hpcorch hold last", "hpcorch hold last/10-99"))
@selector_argument
@states_option("Only runs in these states, such as PD,R.")
@json_option
@pass_place
def command(place: Place, *, selector: str, states: str | None, as_json: bool) -> int:
    """Keep waiting runs from starting.

    Running runs go on. Slurm gets one request, whatever the number of runs. Where a task executes several runs
    (runs_per_task), all waiting runs of its array are held, or none.
    """
    return act(place, Action.HOLD, selector, states, as_json=as_json)
