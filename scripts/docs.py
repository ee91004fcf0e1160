"""Write the reference pages, docs/reference/*.md, from the code that they describe.

python scripts/docs.py            writes them
python scripts/docs.py --check    exits with 1 if one of them is not what the code says
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import click
import yaml

from hpcorch import api
from hpcorch.cli.command_line import COMMANDS, command
from hpcorch.ledger import Ledger
from hpcorch.model.keys.kinds import USUAL_POLICIES, Form, Heeds, Key
from hpcorch.model.keys.launch_keys import KEYS, names
from hpcorch.resources.profile import profile

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
_WRITTEN_BY = "<!-- Written by scripts/docs.py; change the code that it describes instead. -->\n"

# Of a docstring in reStructuredText: what Markdown writes otherwise.
_ROLE = re.compile(r":(?:\w+:)?\w+:`~?([^`]+)`")
_FIELD = re.compile(r":(param|ivar|cvar|return|raises)\s*([\w.]*):\s*")


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its paragraphs, then a list of its fields."""
    text = _ROLE.sub(r"`\1`", docstring).replace("``", "`")
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join("\n".join(_lines(paragraph)) for paragraph in paragraphs)


def _lines(paragraph: str) -> Iterator[str]:
    for line in paragraph.splitlines():
        found = _FIELD.match(line)
        if found is None:
            yield line.strip() if line.startswith("    ") and not line.lstrip().startswith("-") else line
            continue
        word, name = found[1], found[2]
        head = {"return": "returns", "raises": f"raises `{name}`"}.get(word, f"`{name}`")
        yield f"- {head}: {line[found.end() :]}"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """Text as Markdown shows code; nothing for nothing."""
    return f"`{text}`" if text else ""


class Source:
    """A Python file: its classes, with the comments beside their fields."""

    def __init__(self, path: str) -> None:
        text = (ROOT / path).read_text()
        self._lines = text.splitlines()
        body = ast.parse(text).body
        self.classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        self._functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}

    def fields(self, name: str) -> Iterator[tuple[str, str, str, str]]:
        """(name, type, default, comment) of the fields of a dataclass."""
        for node in self.classes[name].body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                default = "" if node.value is None else ast.unparse(node.value)
                comment = self._lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]
                yield node.target.id, ast.unparse(node.annotation), default, comment

    def methods(self, name: str) -> Iterator[tuple[str, str]]:
        """(how it is written, docstring) of the public methods and properties of a class."""
        for node in self.classes[name].body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                decorators = {ast.unparse(one) for one in node.decorator_list}
                yield _usage(node, decorators), ast.get_docstring(node) or ""

    def members(self, name: str) -> Iterator[tuple[str, str]]:
        """(value, comment) of the members of an enum."""
        for node in self.classes[name].body:
            if isinstance(node, ast.Assign):
                yield ast.literal_eval(node.value), self._lines[node.lineno - 1].partition("  # ")[2]

    def bases(self, name: str) -> str:
        return ", ".join(map(ast.unparse, self.classes[name].bases))

    def docstring(self, name: str) -> str:
        return ast.get_docstring(self.classes[name]) or ""

    def function(self, name: str) -> tuple[str, str]:
        """(how it is written, docstring) of a function."""
        node = self._functions[name]
        return _usage(node, set()), ast.get_docstring(node) or ""


def _usage(node: ast.FunctionDef, decorators: set[str]) -> str:
    if "property" in decorators:
        return f"{node.name}: {ast.unparse(node.returns)}" if node.returns is not None else node.name
    node.args.args = [one for one in node.args.args if one.arg != "self"]
    node.args.posonlyargs = [one for one in node.args.posonlyargs if one.arg != "self"]
    arguments = ast.unparse(node.args).removeprefix("/, ")
    if "contextmanager" in decorators:
        return f"with {node.name}({arguments})"
    returns = "None" if node.returns is None else ast.unparse(node.returns)
    return f"{node.name}({arguments})" if returns == "None" else f"{node.name}({arguments}) -> {returns}"


def launcher_keys() -> str:
    """The keys of both launchers."""
    meaning = "[The guide](../guide/launchers.md) has what they mean; sbatch(1) has the values of Slurm's own."
    parts = ["# Keys of the launchers", meaning]
    local = names(Heeds.LAUNCH | Heeds.POOL)
    slurm = names(Heeds.LAUNCH | Heeds.SLURM | Heeds.SBATCH)
    titles = {
        "Both launchers": local & slurm,
        "`hydra/launcher=hpcorch_slurm`": slurm - local,
        "`hydra/launcher=hpcorch_local`, beside these": local - slurm,
    }
    for title, keys in titles.items():
        rows = [
            (code(name), code(_key_type(key)), code(_key_default(key)), key.meaning)
            for name, key in KEYS.items()
            if name in keys
        ]
        parts += [f"## {title}", table(("key", "type", "default", ""), rows)]
    policies = [(code(aspect), code(policy)) for aspect, policy in USUAL_POLICIES.items()]
    return "\n\n".join([*parts, "## Below `drift`", table(("key", "default"), policies)])


def _key_type(key: Key) -> str:
    kind = key.kind
    is_optional = kind.form is not Form.ANY and (key.hydra is None or kind.may_be_null)
    return f"{kind.form.value} | None" if is_optional else kind.form.value


def _key_default(key: Key) -> str:
    if key.hydra == USUAL_POLICIES:
        return ""  # shown below
    shown = yaml.safe_dump(key.hydra, default_flow_style=True).removesuffix("...\n").strip().strip("'")
    return shown if key.local == key.hydra else f"{shown}; locally {key.local}"


def commands() -> str:
    """The command line, command by command."""
    parts = ["# Commands", inspect.cleandoc(command.help or ""), _options(command)]
    for name in COMMANDS:
        found = command.get_command(click.Context(command), name)
        assert found is not None
        parts += _command(f"hpcorch {name}", found)
    return "\n\n".join(part for part in parts if part)


def _command(name: str, found: click.Command) -> Iterator[str]:
    arguments = [one.metavar or str(one.name).upper() for one in found.params if isinstance(one, click.Argument)]
    yield f"## `{' '.join([name, *arguments])}`"
    yield inspect.cleandoc(found.help or "")
    yield _options(found)
    if isinstance(found, click.Group):
        for inner, one in found.commands.items():
            yield from _command(f"{name} {inner}", one)


def _options(found: click.Command) -> str:
    options = [one for one in found.params if isinstance(one, click.Option) and not one.hidden]
    rows = [(code(" ".join(filter(None, [_names(one), one.metavar]))), one.help or "") for one in options]
    return table(("option", ""), rows) if rows else ""


def _names(option: click.Option) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])


def events() -> str:
    """Every fact that is recorded."""
    from hpcorch.model.events import KINDS, fact_class

    about = (
        "Each line of a journal is a fact, and so is each row of the view `v_events`: `kind` names it, `body` has"
        " these fields. Fields that are null are left out."
    )
    parts = ["# Events", about]
    for kind, module in KINDS.items():
        fact, source = fact_class(kind), Source(module.replace(".", "/") + ".py")
        rows = [(code(name), code(form), comment) for name, form, _, comment in source.fields(fact.__name__)]
        stays = "" if fact.archived else "\n\nIn the journal only; the ledger does not store it."
        parts += [f"## `{kind}`", markdown(source.docstring(fact.__name__)) + stays]
        if rows:
            parts.append(table(("field", "type", ""), rows))
    return "\n\n".join(parts)


def views() -> str:
    """The views of the ledger, with their columns."""
    text = (ROOT / "hpcorch" / "ledger" / "schema" / "sql" / "views.sql").read_text()
    told = dict(re.findall(r"^--   (v_\w+) +(.+)$", text, re.MULTILINE))
    about = re.findall(r"^-- (?! )(.+)$", text, re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        with Ledger.open(path, write=True, create=True):
            pass
        columns = _columns(path)
    rows = [(code(name), told.get(name, ""), ", ".join(map(code, columns[name]))) for name in columns]
    return "\n\n".join(["# Views of the ledger", "\n".join(about), table(("view", "", "columns"), rows)])


def _columns(ledger: Path) -> dict[str, list[str]]:
    connection = sqlite3.connect(ledger)
    try:
        views = connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY rowid").fetchall()
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in views}
    finally:
        connection.close()


def run_api() -> str:
    """What a task may ask of its run."""
    run, signals = Source("hpcorch/runtime/run/run.py"), Source("hpcorch/runtime/context/signals.py")
    errors, checkpoint = Source("hpcorch/errors.py"), Source("hpcorch/runtime/run/checkpoint.py")
    about = "`run = hpcorch.current_run()` returns it; outside a job, a stand-in that does nothing."
    parts = ["# The run", about]
    parts += ["## `hpcorch.Run`", markdown(run.docstring("Run"))]
    for usage, docstring in run.methods("Run"):
        parts += [f"### `{usage}`", markdown(docstring)]
    fields = table(("field", "type"), [(code(n), code(t)) for n, t, *_ in checkpoint.fields("Checkpoint")])
    parts += ["## `hpcorch.Checkpoint`", markdown(checkpoint.docstring("Checkpoint")), fields]
    parts += ["## `hpcorch.Stopped`", markdown(signals.docstring("Stopped"))]
    for name in ("CheckpointError", "LeaseLostError", "UsageError"):
        parts += [f"## `hpcorch.errors.{name}`", markdown(errors.docstring(name))]
    return "\n\n".join(parts)


def python_api() -> str:
    """What other programs use."""
    source, states = Source("hpcorch/api/ledger.py"), Source("hpcorch/model/states.py")
    usage, docstring = Source("hpcorch/launcher/collect.py").function("collect")
    about = inspect.cleandoc((api.__doc__ or "").partition("\n")[2])
    parts = ["# Python", markdown(about), "## `hpcorch.Ledger(path=None)`", markdown(source.docstring("Ledger"))]
    for written, told in source.methods("Ledger"):
        parts += [f"### `{written}`", markdown(told)]
    parts += [f"## `hpcorch.{usage}`", markdown(docstring)]
    source = Source("hpcorch/api/submit.py")
    usage, docstring = source.function("submit")
    parts += [f"## `hpcorch.{usage}`", markdown(docstring), *_records(source)]
    parts += ["## Records", "All are in `hpcorch.api`."]
    parts += _records(Source("hpcorch/api/records.py"))
    for name in ("RunState", "AttemptState"):
        parts += [f"## `{name}`", markdown(states.docstring(name))]
        parts.append(table(("state", ""), [(code(state), comment) for state, comment in states.members(name)]))
    return "\n\n".join([*parts, "## `hpcorch.errors`", _errors(Source("hpcorch/errors.py"))])


def _records(source: Source) -> Iterator[str]:
    for name in source.classes:
        yield f"### `{name}`"
        yield markdown(source.docstring(name))
        rows = [(code(field), code(form), comment) for field, form, _, comment in source.fields(name)]
        rows += [
            (code(usage.partition(":")[0]), code(usage.partition(": ")[2]), markdown(told))
            for usage, told in source.methods(name)
        ]
        yield table(("field", "type", ""), rows)


def _errors(source: Source) -> str:
    rows = [
        (code(name), code(source.bases(name)), markdown(source.docstring(name)).partition("\n\n")[0])
        for name in source.classes
    ]
    return table(("error", "is a", "met when"), rows)


def site_profile() -> str:
    """The keys of a site profile."""
    source = Source("hpcorch/resources/profile/profile.py")
    about = "[Sharing resources](../guide/sharing.md) explains it. A key without a default sets no limit."
    parts = ["# The site profile", about]
    for title, form in _PROFILE.items():
        head, _, rest = source.docstring(form.__name__).partition("\n")
        told = dict(re.findall(r"^:param (\w+): (.+(?:\n .+)*)", rest, re.MULTILINE))
        rows = [
            (code(key.name), _values(source, str(key.type)), _profile_default(key), markdown(told[key.name]))
            for key in dataclasses.fields(form)
            if key.name not in ("name", "source")
        ]
        parts += [f"## {title}", markdown(head), table(("key", "value", "default", ""), rows)]
    return "\n\n".join(parts)


_PROFILE = {
    "The whole": profile.Profile,
    "`resources.NAME`": profile.Resource,
    "`pools.NAME`": profile.Pool,
    "`pools.NAME.limits`": profile.PoolLimits,
    "`envelope`": profile.Envelope,
    "`policies`": profile.Policies,
    "`prices`": profile.Prices,
}
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "tuple[str, ...]": "a list of texts"}


def _values(source: Source, form: str) -> str:
    form = form.removesuffix(" | None")
    if form in source.classes and source.bases(form) == "Enum":
        return ", ".join(code(value) for value, _ in source.members(form))
    return _WORDS.get(form, "see below")


def _profile_default(key: dataclasses.Field[Any]) -> str:
    if key.default is dataclasses.MISSING:
        return "required" if key.default_factory is dataclasses.MISSING else ""
    value = key.default.value if isinstance(key.default, Enum) else key.default
    return "" if value is None or value == "" else code(str(value))


WRITERS: Mapping[str, Callable[[], str]] = {
    "commands.md": commands,
    "events.md": events,
    "launcher-keys.md": launcher_keys,
    "python.md": python_api,
    "run.md": run_api,
    "site-profile.md": site_profile,
    "views.md": views,
}


def main() -> int:
    """Write the pages, or say which are stale."""
    check = sys.argv[1:] == ["--check"]
    PAGES.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, write in WRITERS.items():
        path, text = PAGES / name, f"{_WRITTEN_BY}\n{write()}\n"
        if path.exists() and path.read_text() == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not check:
            path.write_text(text)
    if check and stale:
        print(f"not what the code says: {', '.join(stale)}; run python scripts/docs.py", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
