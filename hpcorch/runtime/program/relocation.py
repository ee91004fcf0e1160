"""What was frozen, with its paths as they are after the project or the sweep directory was moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hpcorch.journal.layout import Moves, SweepLayout, moved
from hpcorch.journal.manifest import FrozenRun, ManifestHeader
from hpcorch.runtime.program.task_file import TaskFile

_SWEEP_DIR = "hydra.sweep.dir"


def relocated_run(frozen: FrozenRun, layout: SweepLayout) -> FrozenRun:
    """The run, in the folders where its project and its sweep directory are now."""
    fixed = {**frozen.run.node.get("frozen", {}), _SWEEP_DIR: str(layout.directory)}
    run = replace(
        frozen.run,
        directory=_now(frozen.run.directory, layout.moves),
        node={**frozen.run.node, "frozen": fixed},
    )
    return replace(frozen, header=relocated_header(frozen.header, layout.moves), run=run)


def relocated_header(header: ManifestHeader, moves: Moves) -> ManifestHeader:
    """What all runs of a launch share, likewise."""
    code = header.code and replace(
        header.code, archive=_now(header.code.archive, moves), root=_now(header.code.root, moves)
    )
    return replace(header, project=_now(header.project, moves), cwd=_now(header.cwd, moves), code=code)


def relocated_task(task: TaskFile, moves: Moves) -> TaskFile:
    """The program, in the folder where it is now. Words that are absolute paths are among what was typed."""
    invocation, main = task.invocation, task.main
    if invocation is not None:
        invocation = replace(
            invocation,
            file=_now(invocation.file, moves),
            cwd=invocation.cwd and _now(invocation.cwd, moves),
            argv=_all(invocation.argv, moves),
        )
    if main is not None:
        main = replace(main, file=main.file and _now(main.file, moves), argv=_all(main.argv, moves))
    return replace(task, sys_path=_all(task.sys_path, moves), invocation=invocation, main=main)


def _all(words: Iterable[str], moves: Moves) -> list[str]:
    return [_now(word, moves) for word in words]


def _now(text: str, moves: Moves) -> str:
    return str(moved(Path(text), moves)) if Path(text).is_absolute() else text
