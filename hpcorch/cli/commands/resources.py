"""``hpcorch resources``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import examples, json_option
from hpcorch.model.value_text import printable

if TYPE_CHECKING:
    from hpcorch.services.reports.resources import SharedResource


@click.command(epilog=examples("hpcorch resources", "hpcorch resources --json"))
@json_option
def command(*, as_json: bool) -> int:
    """Show shared resources, who uses them and who waits.

    Shows the resources of the site profile and the licences of the cluster. Exits with 3 if one of them could not
    be asked.
    """
    from hpcorch.errors import UnavailableError
    from hpcorch.services.reports.resources import shared_resources  # loads the way to Slurm
    from hpcorch.services.site.project_profile import load_profile, project_at

    found = shared_resources(load_profile(project_at(Path.cwd())))
    if as_json:
        output.write_json([one.as_plain() for one in found])
    elif found:
        output.write_table(
            output.Table(
                columns=("resource", "enforced", "capacity", "in use", "by", "waiting"),
                rows=[_row(one) for one in found],
                flexible=frozenset({"by"}),
            )
        )
    else:
        output.note("there is no site profile with resources here, and the cluster has no licences: `hpcorch init`")
    output.notes([f"{one.name} could not be checked: {one.trouble}" for one in found if one.trouble])
    return UnavailableError.exit_code if any(one.trouble for one in found) else 0


def _row(one: SharedResource) -> list[str]:
    return [
        printable(one.name),
        one.enforced.value,
        "" if one.capacity is None else f"{one.capacity} {one.unit}".strip(),
        "" if one.in_use is None else str(one.in_use),
        ", ".join(f"{printable(use.who)} {use.amount}" for use in one.uses),
        str(one.waiting),
    ]
