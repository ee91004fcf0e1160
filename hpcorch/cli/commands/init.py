"""``hpcorch init``"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import examples, json_option
from hpcorch.cli.shared.text import printable

if TYPE_CHECKING:
    from hpcorch.resources.profile.profile import Profile
    from hpcorch.services.setup.project import Ready


@click.command(
    epilog=examples("hpcorch init", "hpcorch init --output ~/.config/hpcorch/site.yaml", "hpcorch init --json")
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Write only the site profile, to this file.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing site profile.")
@json_option
def command(*, target: Path | None, force: bool, as_json: bool) -> int:
    """Prepare a project: site profile, configuration, .gitignore.

    The site profile (.hpcorch/site.yaml) gets the cluster's licences, GPUs by type, partitions and your limits, as
    scontrol, sinfo and sacctmgr show them to you. Add what only people know: shared storage, databases or tokens
    that runs should not oversubscribe. hpcorch uses the first profile of $HPCORCH_SITE, .hpcorch/site.yaml of the
    project, ~/.config/hpcorch/site.yaml and /etc/hpcorch/site.yaml.

    The configuration (conf/config.yaml, or the one that the program under @hydra.main names) is written only if
    there is none. In a git checkout, .gitignore gets the lines that it lacks. Nothing else is changed. A machine
    without Slurm gets no profile, and a configuration that runs on the machine itself.
    """
    from hpcorch.services.setup.project import make_ready  # loads the way to Slurm
    from hpcorch.services.site.project_profile import project_at
    from hpcorch.slurm.choose import slurm_client

    if target is not None:
        return _write_profile(target.expanduser().absolute(), force=force, as_json=as_json)
    ready = make_ready(project_at(Path.cwd()), slurm_client(), force=force)
    if as_json:
        profile = ready.files[0].path if ready.profile.source else None
        files = [made.as_plain() for made in ready.files]
        output.write_json({**_plain(profile, ready.profile), "files": files, "launcher": ready.launcher})
    else:
        for line in _lines(ready):
            output.write(printable(line))
    if ready.trouble is None:
        return 0
    output.note(str(ready.trouble))
    return ready.trouble.exit_code


def _write_profile(path: Path, *, force: bool, as_json: bool) -> int:
    from hpcorch.services.setup.first_profile import profile_text, refuse_to_replace, write_profile
    from hpcorch.services.setup.project import summary
    from hpcorch.services.site.survey import survey
    from hpcorch.slurm.choose import slurm_client

    refuse_to_replace(path, force=force)  # before the cluster is asked
    profile = write_profile(path, profile_text(survey(slurm_client())), force=force)
    if as_json:
        output.write_json(_plain(path, profile))
    else:
        output.write(printable(f"wrote  {path}: {summary(profile)}"))
        output.note("edit it, then run `hpcorch doctor` to compare it with the cluster")
    return 0


def _plain(path: Path | None, profile: Profile) -> dict[str, Any]:
    return {
        "profile": str(path) if path else None,
        "cluster": profile.cluster,
        "resources": {name: one.capacity for name, one in profile.resources.items()},
        "pools": list(profile.pools),
    }


def _lines(ready: Ready) -> Iterator[str]:
    names = [_short(made.path) for made in ready.files]
    width = max(map(len, names))
    for made, name in zip(ready.files, names, strict=True):
        what = "wrote" if made.written else "left" if made.path.exists() else "none"
        yield f"{what:<5}  {name:<{width}}  {made.about}"
    program = ready.program
    if program is None or not program.by_hydra:
        whose = f"{_short(program.path)} is" if program else "there is"
        yield f"{whose} no Hydra program yet: {names[1]} shows what it needs"
    words = f"python {_short(program.path) if program else 'train.py'} -m {ready.swept}"
    if not ready.chosen:
        words += f" hydra/launcher={ready.launcher}"
    yield "next:"
    steps = {
        f"{words} hydra.launcher.dry_run=true": "shows what would run",
        words: "runs it",
        "hpcorch status last": "how it goes",
        "hpcorch doctor": "checks the set-up",
    }
    longest = max(map(len, steps))
    for step, meaning in steps.items():
        yield f"  {step:<{longest}}  {meaning}"


def _short(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
