"""``hpcorch init``"""

from __future__ import annotations

from pathlib import Path

import click

from hpcorch.cli import output
from hpcorch.cli.options import examples, json_option
from hpcorch.cli.text import printable


@click.command(
    epilog=examples("hpcorch init", "hpcorch init --output ~/.config/hpcorch/site.yaml", "hpcorch init --json")
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where to write it; by default .hpcorch/site.yaml of this project.",
)
@click.option("--force", is_flag=True, help="Replace a profile that is there.")
@json_option
def command(*, target: Path | None, force: bool, as_json: bool) -> None:
    """Write a site profile from what the cluster says.

    It gets the cluster's licences, GPUs by type, partitions and your limits. Add what only people know: shared
    storage, databases or tokens that runs should not oversubscribe.

    The profile that counts is the first of $HPCORCH_SITE, .hpcorch/site.yaml of the project,
    ~/.config/hpcorch/site.yaml and /etc/hpcorch/site.yaml.

    Asks scontrol, sinfo and sacctmgr, as whoever you are; nothing of the cluster is changed.
    """
    from hpcorch.services.init import profile_text, refuse_to_replace, write_profile  # loads the way to Slurm
    from hpcorch.services.site import project_at, project_profile
    from hpcorch.services.survey import survey
    from hpcorch.slurm.client import CliClient

    here = project_profile(project_at(Path.cwd()))
    path = here if target is None else target.expanduser().absolute()
    refuse_to_replace(path, force=force)  # before the cluster is asked
    profile = write_profile(path, profile_text(survey(CliClient())), force=force)
    if as_json:
        output.write_json(
            {
                "profile": str(path),
                "cluster": profile.cluster,
                "resources": {name: one.capacity for name, one in profile.resources.items()},
                "pools": list(profile.pools),
            }
        )
        return
    output.write(printable(f"{path}: {len(profile.resources)} resources and {len(profile.pools)} pools"))
    output.note("edit it to your needs, and look with `hpcorch doctor` whether it is true of the cluster")
