"""Every command explains itself, with an example, and speaks JSON where it has data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import click
import pytest

from hpcorch import errors
from hpcorch.cli.command_line import COMMANDS, command
from tests.support.command_line import CommandLine


def _walk(
    group: click.Group, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from _walk(found, click.Context(found, parent=context), (*path, name))


ALL = dict(_walk(command, click.Context(command)))
# They print what the program prints that they start.
STARTERS = [("exec",), ("extend",), ("sbatch",)]
DATA = [path for path, found in ALL.items() if not isinstance(found, click.Group) and path not in STARTERS]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_commands_help_says_what_it_does_with_an_example(path, capsys):
    ran = CommandLine(capsys)(*path, "--help")
    assert ran.code == 0
    assert f"  $ hpcorch {' '.join(path)}" in ran.out or f" {' '.join(path)}" in ran.out.split("Examples:")[1]
    assert (ALL[path].help or "").strip()


@pytest.mark.parametrize("path", DATA, ids=" ".join)
def test_a_command_that_prints_data_prints_json_if_asked(path):
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_has_help(path):
    silent = [p.opts for p in ALL[path].params if isinstance(p, click.Option) and not p.help]
    assert silent == []


def test_the_overview_says_of_each_command_what_its_own_help_says():
    for name, summary in COMMANDS.items():
        assert (ALL[(name,)].help or "").startswith(summary)


def test_the_overview_lists_every_command(capsys):
    ran = CommandLine(capsys)("--help")
    assert ran.code == 0
    for name, summary in COMMANDS.items():
        assert name in ran.out
        assert summary in ran.out


@pytest.mark.parametrize("words", [("nonsense",), ("ls", "--nonsense"), ("ls", "--limit", "many"), ("query",)])
def test_a_command_line_that_cannot_be_understood_exits_with_2(words, capsys):
    ran = CommandLine(capsys)(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert "Error: " in ran.err


def test_examples_in_help_can_be_parsed(capsys):
    """What help shows is what the commands take: each example's options exist."""
    for path, found in ALL.items():
        if path == ("sbatch",):
            continue  # which takes sbatch's options
        known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
        lines = (found.epilog or "").splitlines()
        own = [line.split("|")[0] for line in lines if line.strip().startswith(f"$ hpcorch {' '.join(path)}")]
        ours = [line.partition(" -- ")[0] for line in own]
        used = {word for line in ours for word in line.replace("'", " ").split() if word.startswith("--")}
        assert used <= known, json.dumps([path, sorted(used - known)])


def test_the_overview_names_the_exit_codes_of_all_errors(capsys):
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    (told,) = re.findall(r"Exit\s+codes:([^.]*)", CommandLine(capsys)("--help").out)
    assert {int(code) for code in re.findall(r"\d+", told)} == {0, *(kind.exit_code for kind in kinds)}
