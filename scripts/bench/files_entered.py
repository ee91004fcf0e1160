#!/usr/bin/env python3
"""How many of hpcorch's files an action runs through: `scripts/bench/files_entered.py [--tree PATH]...`.

Launches a small sweep on this machine and another with the tests' pretended Slurm; then asks for the status of the
first, audits it and retries it. In each Python process a profiler notes the files of hpcorch whose functions are
called (entered), and with them those that are only executed by an import (loaded). Prints both for each tree of
sources, and figures of the sources alone: modules in the fullest folder, and how many modules of hpcorch a module
imports. The first tree is what the others are compared with; without any it is this one.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

APP = """
from pathlib import Path

import hydra


@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    if cfg.x == 1 and not Path("again").exists():
        raise ValueError("fails at the first try")
    return cfg.x


if __name__ == "__main__":
    main()
"""
# Python starts with this. A class body or a module that is executed is no function that is called.
PROFILER = """
import atexit
import json
import os
import sys
import threading

_IS_FUNCTION = 1  # inspect.CO_OPTIMIZED
_top = os.environ["FILES_ENTERED_TOP"]
_loaded, _entered = set(), set()


def _note(frame, event, _argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(_top):
        (_entered if code.co_flags & _IS_FUNCTION else _loaded).add(code.co_filename[len(_top):])


def _write():
    sys.setprofile(None)
    with open(os.path.join(os.environ["FILES_ENTERED_OUT"], f"{os.getpid()}.json"), "w") as file:
        json.dump({"argv": sys.orig_argv, "loaded": sorted(_loaded), "entered": sorted(_entered)}, file)


atexit.register(_write)
threading.setprofile(_note)
sys.setprofile(_note)
"""
CLI = "from hpcorch.cli.main import main; main()"
JOB = "hpcorch.runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What one process ran through."""

    loaded: frozenset[str]
    entered: frozenset[str]


class Trial:
    """Actions by the sources of one tree, in a project of its own."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self._tree = tree
        self._out = folder / "out"
        self._project = folder / "project"
        for made in (self._out, self._project, self._project / ".hpcorch", folder / "profiler"):
            made.mkdir()
        (self._project / "app.py").write_text(APP)
        (folder / "profiler/sitecustomize.py").write_text(PROFILER)
        pretended = next((tree / "tests").rglob("*/sbatch")).parent
        sources = [folder / "profiler", tree, tree / "hpcorch/_plugin"]
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PYTHON"))},
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "PATH": f"{pretended}{os.pathsep}{os.environ['PATH']}",
            "FAKE_SLURM_DIR": str(folder / "slurm"),
            "FILES_ENTERED_TOP": f"{tree / 'hpcorch'}{os.sep}",
            "FILES_ENTERED_OUT": str(self._out),
        }

    def actions(self) -> dict[str, Files]:
        """Each action with what it ran through."""
        found = {}
        found["launch on this machine"], found["runtime (a job)"] = self._measured(
            ["app.py", "-m", "+x=0,1", "hydra.sweep.dir=sweep", "hydra/launcher=hpcorch_local"]
        )
        found["launch with Slurm"], _ = self._measured(
            ["app.py", "-m", "+x=0,1", "hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true"]
        )
        selected = self._first_sweep()
        for verb in ("status", "audit"):
            found[verb], _ = self._measured(["-c", CLI, verb, selected])
        (self._project / "again").touch()
        found["retry"], _ = self._measured(["-c", CLI, "retry", selected])
        return found

    def _first_sweep(self) -> str:
        first = (self._project / "sweep/.hpcorch/control.jsonl").read_text().partition("\n")[0]
        return str(json.loads(first)["sweep"])

    def _measured(self, arguments: Sequence[str]) -> tuple[Files, Files | None]:
        """What a Python program ran through, and the first job that it started, if any.

        :raises SystemExit: it did not come to its end
        """
        for file in self._out.iterdir():
            file.unlink()
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self._project, env=self._environ, capture_output=True, text=True
        )
        told = [json.loads(file.read_text()) for file in self._out.glob("*.json")]
        own = [one for one in told if one["argv"][1:] == list(arguments)]
        if not own:
            sys.exit(f"{' '.join(arguments)} failed by {self._tree}:\n{done.stdout}{done.stderr}")
        jobs = [one for one in told if JOB in one["argv"]]
        return _files(own[0]), _files(jobs[0]) if jobs else None


def _files(told: Mapping[str, list[str]]) -> Files:
    entered = frozenset(told["entered"])
    return Files(loaded=frozenset(told["loaded"]) | entered, entered=entered)


def sources(tree: Path) -> dict[str, float]:
    """Figures of the sources alone."""
    files = {_module(path, tree): path for path in (tree / "hpcorch").rglob("*.py")}
    commands = ("cli", "commands")  # one file each
    folders = Counter(
        str(path.parent.relative_to(tree))
        for path in files.values()
        if path.name != "__init__.py" and path.parent.name not in commands
    )
    modules = {name: path for name, path in files.items() if path.name != "__init__.py"}
    imports = [len(set(_imports(path, files)) - {name}) for name, path in modules.items()]
    return {
        "modules": float(len(imports)),
        "modules in the fullest folder": float(max(folders.values())),
        "imports of a module, median": median(imports),
        "imports of a module, 95th percentile": quantiles(imports, n=20)[-1],
    }


def _module(path: Path, tree: Path) -> str:
    return ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in inner if node.module in modules)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", help="a checkout of hpcorch; any number")
    parser.add_argument("--list", metavar="ACTION", help="print the files that an action enters, by the last tree")
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.tree or [Path(__file__).parents[2]]]
    columns: list[dict[str, float]] = []
    for tree in trees:
        with tempfile.TemporaryDirectory(prefix="bench-files-") as folder:
            actions = Trial(tree, Path(folder)).actions()
        column = {f"{action}: entered": float(len(files.entered)) for action, files in actions.items()}
        column |= {f"{action}: loaded": float(len(files.loaded)) for action, files in actions.items()}
        columns.append({**column, **sources(tree)})
    if options.list is not None:
        print("\n".join(sorted(actions[options.list].entered)))
        return
    print(f"| | {' | '.join(tree.name for tree in trees)} |\n|---|{'---:|' * len(trees)}")
    for name, first in columns[0].items():
        others = (f"{column[name]:g} ({column[name] / first:.2f})" for column in columns[1:])
        print(f"| {name} | {' | '.join([f'{first:g}', *others])} |")


if __name__ == "__main__":
    main()
