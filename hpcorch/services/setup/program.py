"""Which program of a project to sweep over, and which configuration it reads; found in the text, nothing is run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from hpcorch import tunables
from hpcorch.quick_dataclasses import dataclass

_NOT_LOOKED_AT = ("test", "tests", "build", "dist", "site-packages", "node_modules", "multirun", "outputs")
# What programs are called that people sweep over, the likeliest first.
_LIKELY = ("train.py", "main.py", "run.py", "app.py", "experiment.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of the project.

    :param by_hydra: its function is under ``@hydra.main``
    :param config: the file that it reads its configuration from, there or not; None where it names none, or where
        only running it would tell
    :param in_code: its configuration is made in code, or named by something that only running it would tell
    """

    path: Path
    by_hydra: bool = False
    config: Path | None = None
    in_code: bool = False


def find_program(project: Path) -> Program | None:
    """The program that is most likely meant: one of Hydra's, else one with a likely name; None without either."""
    files = sorted(_sources(project), key=lambda path: (_rank(path), len(path.parts), str(path)))
    found = next((program for path in files if (program := _by_hydra(path)) is not None), None)
    if found is not None:
        return found
    likely = next((path for path in files if path.name in _LIKELY), None)
    return None if likely is None else Program(path=likely)


def _rank(path: Path) -> int:
    return _LIKELY.index(path.name) if path.name in _LIKELY else len(_LIKELY)


def _sources(project: Path) -> Iterator[Path]:
    """Python files of the project and of the folders in it, two levels deep."""
    patterns = ("*.py", "*/*.py", "*/*/*.py")
    paths = (path for pattern in patterns for path in sorted(project.glob(pattern)))
    yield from islice(
        (path for path in paths if _is_looked_at(path.relative_to(project), project)), tunables.INIT_MAX_FILES
    )


def _is_looked_at(path: Path, project: Path) -> bool:
    folders = path.parts[:-1]
    if any(part.startswith(".") or part in _NOT_LOOKED_AT for part in folders):
        return False
    return not any(
        (project.joinpath(*folders[: depth + 1]) / "pyvenv.cfg").exists() for depth in range(len(folders))
    )


def _by_hydra(path: Path) -> Program | None:
    try:
        if path.stat().st_size > tunables.INIT_MAX_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
        if "hydra" not in text:
            return None
        calls = [call for node in ast.walk(ast.parse(text)) for call in _decorators(node)]
    except (OSError, ValueError, SyntaxError, RecursionError):  # whatever it is, it is no program that runs
        return None
    return _program(path, calls[0]) if calls else None


def _decorators(node: ast.AST) -> Iterator[ast.Call]:
    """The calls of ``hydra.main``, or of a ``main`` imported from it, that decorate a function."""
    if not isinstance(node, ast.FunctionDef):
        return
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("hydra.main", "main"):
            yield call


def _program(path: Path, call: ast.Call) -> Program:
    given: dict[str | None, ast.expr] = dict(zip(("config_path", "config_name"), call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords}
    values = {name: given.get(name, ast.Constant(value=None)) for name in ("config_path", "config_name")}
    plain = [value.value for value in values.values() if isinstance(value, ast.Constant)]
    if len(plain) < len(values) or None in given:  # given by names or by **
        return Program(path=path, by_hydra=True, in_code=True)
    folder, name = plain
    if isinstance(folder, str) and isinstance(name, str) and "://" not in folder:
        file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        return Program(path=path, by_hydra=True, config=Path(os.path.normpath(path.parent / folder / file)))
    return Program(path=path, by_hydra=True, in_code=folder is not None or name is not None)
