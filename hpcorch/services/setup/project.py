"""Making a project ready: site profile, example configuration, ``.gitignore``.

Nothing that is there is changed, but for lines that are appended to a ``.gitignore``, and a profile of the
project's own that somebody wants written anew.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import SlurmUnavailableError, UsageError
from hpcorch.journal.files import write_whole
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.setup.config import LOCAL, SLURM, config_of, example_config
from hpcorch.services.setup.first_profile import profile_text, write_profile
from hpcorch.services.setup.ignore import add_lines, is_checkout
from hpcorch.services.setup.program import Program, find_program
from hpcorch.services.site.project_profile import find_profile, load_profile, project_profile
from hpcorch.services.site.survey import survey
from hpcorch.slurm.protocol import SlurmClient

_CONFIG_MODE, _CONFIG_FOLDER_MODE = 0o644, 0o755
_CHOSEN = re.compile(r"\bhpcorch_(?:slurm|local)\b")
_HAS_SEED = re.compile(r"^seed:", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One file, and what became of it.

    :param about: what is in it, or why it was left as it is
    """

    path: Path
    written: bool
    about: str

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": str(self.path), "written": self.written, "about": self.about}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A project that is ready.

    :param profile: what serves it; the empty one where there is no cluster
    :param program: the one that is most likely swept over
    :param launcher: the one for this machine
    :param chosen: the configuration chooses a launcher of hpcorch's
    :param swept: words of an override that would sweep
    :param trouble: why Slurm, whose commands are here, could not be asked for a profile
    """

    profile: Profile
    files: Sequence[Made]
    program: Program | None
    launcher: str
    chosen: bool
    swept: str
    trouble: SlurmUnavailableError | None = None


def make_ready(project: Path, client: SlurmClient, *, force: bool) -> Ready:
    """Write what is missing.

    :param force: write a profile of the project's own, even where one serves it
    :raises UsageError: the profile that serves the project is wrong
    """
    trouble = None
    try:
        made, profile = _profile(project, client, force=force)
    except SlurmUnavailableError as error:
        trouble = error
        about = "Slurm does not answer; `hpcorch init` writes it when it does"
        made, profile = Made(path=project_profile(project), written=False, about=about), Profile()
    program = find_program(project)
    launcher = SLURM if slurm_is_here() else LOCAL
    config = _config(project, program, profile, launcher)
    files = [made, config, *_ignored(project)]
    text = config.path.read_text(encoding="utf-8", errors="replace") if config.path.is_file() else ""
    return Ready(
        profile=profile,
        files=files,
        program=program,
        launcher=launcher,
        chosen=_CHOSEN.search(text) is not None,
        swept="seed=1,2,3" if _HAS_SEED.search(text) else "KEY=VALUE,VALUE",
        trouble=trouble,
    )


def slurm_is_here() -> bool:
    """Whether this machine has Slurm's commands."""
    return shutil.which("scontrol") is not None


def summary(profile: Profile) -> str:
    """What a profile has, in some words."""
    about = f"cluster {profile.cluster}: " if profile.cluster else ""
    return f"{about}{len(profile.resources)} resources and {len(profile.pools)} pools"


def _profile(project: Path, client: SlurmClient, *, force: bool) -> tuple[Made, Profile]:
    there, own = find_profile(project), project_profile(project)
    if there is not None and not force:
        about = f"{summary(load_profile(project))}; it serves this project already (--force writes a new one)"
        return Made(path=there, written=False, about=about), load_profile(project)
    if not slurm_is_here():
        if force:
            raise UsageError(
                "a site profile is written from what Slurm says, and its commands are not here: run `hpcorch init"
                " --force` on a login node, or load the site's slurm module"
            )
        about = "there is no Slurm here; on a cluster's login node `hpcorch init` writes it"
        return Made(path=own, written=False, about=about), Profile()
    profile = write_profile(own, profile_text(survey(client)), force=force)
    return Made(path=own, written=True, about=summary(profile)), profile


def _config(project: Path, program: Program | None, profile: Profile, launcher: str) -> Made:
    path, reason = config_of(project, program)
    if reason is not None:
        return Made(path=path, written=False, about=reason)
    path.parent.mkdir(parents=True, exist_ok=True, mode=_CONFIG_FOLDER_MODE)
    text = example_config(path, program, profile, launcher=launcher)
    write_whole(path, text.encode("utf-8", "surrogateescape"), mode=_CONFIG_MODE)
    return Made(path=path, written=True, about=f"an example to change, with launcher {launcher}")


def _ignored(project: Path) -> list[Made]:
    if not is_checkout(project):
        return []
    path = project / ".gitignore"
    added = add_lines(path)
    about = f"{len(added)} lines for what hpcorch and Hydra write" if added else "it has the lines already"
    return [Made(path=path, written=bool(added), about=about)]
