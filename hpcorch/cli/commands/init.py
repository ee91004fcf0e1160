"""``hpcorch init``"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import examples, json_option
from hpcorch.model.value_text import printable

if TYPE_CHECKING:
    from hpcorch.resources.profile.profile import Profile
    from hpcorch.services.setup.project import Ready


@click.command(
    epilog=examples(
        "hpcorch init",
        "hpcorch init --group mylab",
        "hpcorch init --output ~/.config/hpcorch/site.yaml",
        "hpcorch init --json",
    )
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Write only the site profile, to this file.",
)
@click.option(
    "--group", metavar="NAME", help="Share the project with the members of this group, or join one that is shared."
)
@click.option("--force", is_flag=True, help="Overwrite an existing site profile.")
@json_option
def command(*, target: Path | None, group: str | None, force: bool, as_json: bool) -> int:
    """Prepare a project: site profile, configuration, .gitignore.

    The site profile (.hpcorch/site.yaml) gets the cluster's licences, GPUs by type, partitions and your limits, as
    scontrol, sinfo and sacctmgr show them to you. Add what only people know: shared storage, databases or tokens
    that runs should not oversubscribe. hpcorch uses the first profile of $HPCORCH_SITE, .hpcorch/site.yaml of the
    project, ~/.config/hpcorch/site.yaml and /etc/hpcorch/site.yaml.

    The configuration (conf/config.yaml, or the one that the program under @hydra.main names) is written only if
    there is none. In a git checkout, .gitignore gets the lines that it lacks. Nothing else is changed. A machine
    without Slurm gets no profile, and a configuration that runs on the machine itself.

    With --group several users have one project: one ledger, in which each sees all sweeps and acts on their own.
    Who has the folder runs it first; every other member runs it once, too, in the same folder, and so agrees to use
    the project. Run again, it gives the group what has other modes.
    """
    from hpcorch.services.site.project_profile import project_at

    if target is not None:
        if group is not None:
            raise click.UsageError("--output writes a profile alone, and --group shares a project: use one of them")
        return _write_profile(target.expanduser().absolute(), force=force, as_json=as_json)
    if group is not None and _has_joined(group, as_json=as_json):
        return 0
    project = project_at(Path.cwd())
    ready = _made_ready(project, group, force=force)
    if as_json:
        profile = ready.files[0].path if ready.profile.source else None
        files = [made.as_plain() for made in ready.files]
        shown = {**_plain(profile, ready.profile), "files": files, "launcher": ready.launcher, "group": group}
        output.write_json(shown)
    else:
        for line in _lines(ready, project, group):
            output.write(printable(line))
    if ready.trouble is None:
        return 0
    output.note(str(ready.trouble))
    return ready.trouble.exit_code


def _has_joined(group: str, *, as_json: bool) -> bool:
    """Join the project around the working directory, if it is a colleague's; whether it is."""
    from hpcorch.services.setup.group import colleagues_project, find_group, join_project

    number = find_group(group)
    project = colleagues_project(Path.cwd(), number)
    if project is None:
        return False
    join_project(project, number)
    if as_json:
        output.write_json({"joined": str(project), "group": group})
    else:
        output.write(printable(f"joined {project}, which group {group} shares"))
    return True


def _made_ready(project: Path, group: str | None, *, force: bool) -> Ready:
    from hpcorch.services.setup.project import make_ready  # loads the way to Slurm
    from hpcorch.slurm.choose import slurm_client

    if group is None:
        return make_ready(project, slurm_client(), force=force)
    from hpcorch.services.setup.group import closed_to_group, find_group, make_shared

    ready = make_shared(project, number := find_group(group), slurm_client(), force=force)
    for folder in closed_to_group(project, number):
        output.note(f"members of group {group} cannot enter {folder}: `chmod o+x {folder}` lets everybody pass")
    return ready


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


def _lines(ready: Ready, project: Path, group: str | None) -> Iterator[str]:
    if group is not None:
        yield f"shared {project} with group {group}: each member joins with `hpcorch init --group {group}` in it"
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
