"""``hpcorch extend``"""

from __future__ import annotations

import click

from hpcorch.cli.shared.options import Place, dry_run_option, examples, pass_place
from hpcorch.ledger import Ledger
from hpcorch.services.selection.selectors import parse_selector

_DRY_RUN = "hydra.launcher.dry_run=true"


@click.command(
    epilog=examples(
        "hpcorch extend last lr=0.1,0.01,0.001",
        "hpcorch extend last 'seed=range(10)' --dry-run",
        "hpcorch extend last optimizer=adam,sgd hydra.launcher.timeout_min=600",
    ),
)
@click.argument("selector")
@click.argument("overrides", nargs=-1, required=True)
@dry_run_option
@pass_place
def command(place: Place, *, selector: str, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Add runs to a sweep: what a larger grid has more.

    The sweep's program is called again by the command that began the sweep, with OVERRIDES in place of those of the
    same keys. Of the grid that they span, runs that the sweep has are left alone, whatever became of them. The
    others are added with the next indices, and with the seeds that they would have had from the start. Launcher
    keys, such as hydra.launcher.timeout_min=600, hold for the runs that are added.

    The code has to be what the sweep's runs have: hydra.launcher.drift.code=warn adds runs with other code, and
    says so.
    """
    from hpcorch.services.extension import plan_extension
    from hpcorch.slurm.choose import slurm_client

    words = [*overrides, _DRY_RUN] if dry_run else overrides
    with Ledger.open(place.ledger_path()) as ledger:
        extension = plan_extension(ledger, parse_selector(selector), words, slurm_client())
    extension.call()
