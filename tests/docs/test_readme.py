"""The README is true: its examples run, its tables name what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hpcorch.launcher.config import LocalConf, SlurmConf

_REPOSITORY = Path(__file__).parents[2]
README = (_REPOSITORY / "README.md").read_text()


def commands(marker: str) -> list[str]:
    """The commands of the block that follows ``<!-- runs: marker -->``, continuation lines joined."""
    block = re.search(rf"<!-- runs: {marker} -->\n```\n(.*?)```", README, re.DOTALL)
    assert block is not None, f"the README has no block marked {marker}"
    return block[1].replace("\\\n", " ").strip().splitlines()


@pytest.fixture
def project(tmp_path) -> Path:
    for name in ("scripts", "conf"):
        shutil.copytree(_REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_the_first_sweep_runs_as_written(project, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    for command in commands("local"):
        done = subprocess.run(shlex.split(command), cwd=project, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout + done.stderr, f"{command} says nothing"


def test_every_key_of_the_launchers_is_documented():
    keys = {*OmegaConf.structured(SlurmConf()), *OmegaConf.structured(LocalConf())} - {"_target_"}
    section = README.split("## Keys of the launchers")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documented == keys


def test_every_command_is_documented():
    done = subprocess.run(
        [Path(sys.executable).parent / "hpcorch", "--help"], text=True, capture_output=True, check=True
    )
    listed = re.findall(r"^  (\w+) ", done.stdout.split("Commands:")[1], re.MULTILINE)
    assert listed
    for name in listed:
        assert f"`hpcorch {name}" in README, f"the README does not mention hpcorch {name}"
