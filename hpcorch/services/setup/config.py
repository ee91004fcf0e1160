"""The example configuration that ``init`` writes for a project that has none."""

from __future__ import annotations

import os
from pathlib import Path

from hpcorch.resources.profile.profile import Enforcement, Kind, Profile
from hpcorch.services.setup.program import Program

DEFAULT_CONFIG = Path("conf", "config.yaml")
# Where projects keep their configurations, unless a program names them.
_USUAL_FOLDERS = ("conf", "config", "configs")

_TEXT = """\
# The configuration of this project's runs, for Hydra. `hpcorch init` wrote this example: make it yours.
# A program reads it like this; what its function returns is the run's result:
#
#   import hydra
#
#   @hydra.main(version_base="1.3", config_path="{folder}", config_name="{name}")
#   def main(cfg):
#       return train(lr=cfg.lr, seed=cfg.seed)
#
#   if __name__ == "__main__":
#       main()
#
#   python {program} lr=0.01                        one run, right where you type it
#   python {program} -m lr=0.1,0.01 seed=1,2,3      six runs, by the launcher that is chosen here:
defaults:
  - _self_
  - override hydra/launcher: {launcher}  # or {other}: {other_is}

lr: 0.1
seed: 1
"""
_ON_SLURM = """
hydra:
  launcher:  # what each run asks Slurm for
    timeout_min: 60
    # cpus_per_task: 4
    # mem_gb: 16
"""
_HERE = """
# The CPUs and GPUs of this machine, and what each run takes, decide how many runs run at once:
#
# hydra:
#   launcher:
#     cpus_per_task: 4
#     gpus_per_node: 1
"""
SLURM, LOCAL = "hpcorch_slurm", "hpcorch_local"
_MEANINGS = {SLURM: "job arrays, on a cluster", LOCAL: "this machine's own CPUs and GPUs"}


def config_of(project: Path, program: Program | None) -> tuple[Path, str | None]:
    """Where the project's configuration is, or the example should be; and why none is needed, None if one is."""
    if program is not None and program.config is not None:
        if program.config.exists():
            return program.config, f"{program.path.name} reads it already"
        outside = not program.config.is_relative_to(project)
        return (
            program.config,
            f"{program.path.name} reads it, and it is outside of the project" if outside else None,
        )
    if program is not None and program.in_code:
        return program.path.parent / DEFAULT_CONFIG, f"{program.path.name} says in code what it reads"
    home = project if program is None else program.path.parent
    for folder in _USUAL_FOLDERS:
        known = sorted((home / folder).glob("*.y*ml"))
        if known:
            return known[0], "the project has it already"
    return home / DEFAULT_CONFIG, None


def example_config(path: Path, program: Program | None, profile: Profile, *, launcher: str) -> str:
    """The text of an example.

    :param path: where it is to be
    :param profile: whose pools and resources it names in comments
    :param launcher: :data:`SLURM` or :data:`LOCAL`
    """
    other = LOCAL if launcher == SLURM else SLURM
    home = program.path.parent if program is not None else path.parent.parent
    text = _TEXT.format(
        folder=os.path.relpath(path.parent, home),
        name=path.stem,
        program=program.path.name if program is not None else "train.py",
        launcher=launcher,
        other=other,
        other_is=_MEANINGS[other],
    )
    return text + (_ON_SLURM + _choices(profile) if launcher == SLURM else _HERE)


def _choices(profile: Profile) -> str:
    lines = []
    if any(one.kind is Kind.GPU for one in profile.resources.values()):
        lines.append("# gpus_per_node: 1")
    if profile.pools:
        lines.append(f"# pool: {next(iter(profile.pools))}  # where to run; there are {', '.join(profile.pools)}")
    shared = [one.name for one in profile.resources.values() if one.enforced is not Enforcement.SYSTEM]
    if shared:
        lines.append(f"# resources: {{{shared[0]}: 1}}  # that runs share; there are {', '.join(shared)}")
    return "".join(f"    {line}\n" for line in lines)
