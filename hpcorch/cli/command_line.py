"""The ``hpcorch`` command. A subcommand's module is loaded when it is called: start-up time is a promise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from hpcorch.cli.shared.options import Place, examples
from hpcorch.errors import HpcorchError, UnavailableError
from hpcorch.runtime.context.raised_by_signal import raise_on_ctrl_c
from hpcorch.runtime.context.startup_signals import hold_signals, release_signals, signals_are_held

# Each is the first sentence of the command's own help, which a test holds.
COMMANDS: Mapping[str, str] = {
    "init": "Prepare a project: site profile, configuration, .gitignore.",
    "doctor": "Check whether everything is ready for sweeps.",
    "exec": "Execute a command and record it.",
    "ls": "List sweeps, the latest first.",
    "status": "Show the state of a sweep and its runs.",
    "show": "Show everything about a sweep or one run.",
    "logs": "Print what runs wrote.",
    "resources": "Show shared resources, who uses them and who waits.",
    "why": "Say why a run waits and what would help.",
    "watch": "Follow a sweep's runs as they go.",
    "wait": "Wait until runs are over.",
    "collect": "Print the results of sweeps.",
    "compare": "Show runs of sweeps side by side.",
    "cancel": "Cancel runs.",
    "hold": "Keep waiting runs from starting.",
    "release": "Let held runs start.",
    "extend": "Add runs to a sweep: what a larger grid has more.",
    "rerun": "Run runs again with the code as it is now.",
    "retry": "Run failed, cancelled, timed-out or lost runs again.",
    "tend": "Do what sweeps need now, such as submitting failed runs again.",
    "audit": "Prove what produced results, and that nothing has changed since.",
    "diff": "Show how two runs differ.",
    "reproduce": "Run a run again from its frozen record, and compare.",
    "sbatch": "Submit a script as sbatch does, and record it.",
    "export": "Write tables, or everything that proves a run, to files.",
    "rm": "Remove the files of a sweep.",
    "gc": "Remove snapshots of code that no sweep refers to.",
    "query": "Query the ledger in SQL.",
    "ledger": "Check, copy or rebuild the ledger, or make a lost one again.",
}

# Stands in for a command of the user's, and sees to signals itself from the first to the last.
_STANDS_IN = "exec"

# What a shell makes of a program that these signals ended.
_INTERRUPTED = 130
_PIPE_CLOSED = 141


class CommandLine(click.Group):
    """The top of the command line: finds commands, and turns errors into sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"hpcorch.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        held = signals_are_held()
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except BrokenPipeError:
            code = _PIPE_CLOSED
        except HpcorchError as error:
            code = _fail(str(error), error.exit_code)
        except Exception as error:
            if _was_interrupt(error):
                code = _INTERRUPTED
            elif isinstance(error, OSError):
                code = _fail(_file_system_sentence(error), UnavailableError.exit_code)
            else:
                raise
        if held:
            hold_signals()  # the exit code is decided
        _give_up_output_that_fails()
        ctx.exit(code or 0)


def _was_interrupt(error: BaseException | None) -> bool:
    """Whether an interrupt became this error: it may arrive where Python, or a clean-up, makes another of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _give_up_output_that_fails() -> None:
    """What could not be written would fail once more, loudly, when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _file_system_sentence(error: OSError) -> str:
    what = error.filename or "a file, the current folder or the output"
    return f"the file system refused {what} ({error.strerror or error}): check that it is there, yours and not full"


def _fail(sentence: str, code: int) -> int:
    from hpcorch.cli.shared.output import note

    note(sentence)
    return code


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("hpcorch ls", "hpcorch status last", "hpcorch status last -s F,TO", "hpcorch logs last/3 -f"),
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, readable=False),  # what helps where it is not, opening it says
    metavar="PATH",
    help="The ledger to use; by default $HPCORCH_LEDGER, else .hpcorch/ledger.db here or in a folder above.",
)
@click.version_option(package_name="hpcorch", prog_name="hpcorch")
@click.pass_context
def command(ctx: click.Context, ledger: Path | None) -> None:
    """Hydra sweeps as Slurm job arrays, and the ledger of what ran.

    SELECTOR names a sweep or some of its runs: `last`, a sweep's id or the beginning of it, job=369 for a job of
    Slurm's, or any of these with runs, such as last/3-5,9. job=369_3 is what an element of an array executes. Exit
    codes: 0 fine, 1 not fine (a run failed, a check found something), 2 usage, 3 Slurm or the file system did not
    answer, 75 refused because of drift.
    """
    if ctx.invoked_subcommand != _STANDS_IN:
        raise_on_ctrl_c()
        release_signals()
    ctx.obj = Place(named=ledger.expanduser() if ledger is not None else None)


def run() -> None:
    """Run the ``hpcorch`` program, and end this process with its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the program ends
        getattr(sys, name).reconfigure(errors="backslashreplace")  # a terminal may not take all of Unicode
    command(prog_name="hpcorch")
