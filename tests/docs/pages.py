"""The documentation's pages as tests see them: marked blocks, tables, and a project to run examples in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent

# A fragment becomes the body of a task. What it calls and does not define is the caller's to give.
_APP = """\
from __future__ import annotations
import hydra
import hpcorch
{given}
@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    run = hpcorch.current_run()
{body}

if __name__ == "__main__":
    main()
"""


class Page:
    """One Markdown file, or several as one."""

    def __init__(self, *names: str) -> None:
        self.text = "\n".join((REPOSITORY / name).read_text() for name in names)

    def block(self, marker: str) -> str:
        """The content of the block below ``<!-- marker -->``."""
        found = re.findall(rf"<!-- {re.escape(marker)} -->\n```\w*\n(.*?)```", self.text, re.DOTALL)
        assert len(found) == 1, f"{len(found)} blocks are marked {marker}"
        return found[0]

    def commands(self, marker: str) -> list[str]:
        """The commands of a block, continuation lines joined."""
        return self.block(f"runs: {marker}").replace("\\\n", " ").strip().splitlines()

    def task(self, marker: str, *, given: str = "") -> str:
        """A program whose task is the fragment below ``<!-- in a task: marker -->``."""
        return _APP.format(given=given, body=indent(self.block(f"in a task: {marker}"), "    "))


GUIDES = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("docs/guide/*.md"))
# What is written by hand. An example may move from page to page.
GUIDE = Page("README.md", *GUIDES)


def first_cells(text: str) -> set[str]:
    """The words in the first column of all tables, without what stands in the head of a table."""
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"[\w.]+", row)}


class Project:
    """A copy of the example project, and a shell in it that knows no cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scripts", "conf"):
            shutil.copytree(REPOSITORY / name, folder / name)
        (folder / "no-cluster").touch()  # for a file that is not there Slurm's commands wait a minute
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HPCORCH_", "SLURM_"))}
        self.environ = {
            **kept,
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "SLURM_CONF": str(folder / "no-cluster"),
            "HOME": str(folder / "home"),
        }

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, command: str, *, code: int = 0) -> str:
        """Run a command as a shell would; what it printed, errors last."""
        done = subprocess.run(
            shlex.split(command), cwd=self.folder, env=self.environ, text=True, capture_output=True, timeout=240
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + ("" if code == 0 else done.stderr)
