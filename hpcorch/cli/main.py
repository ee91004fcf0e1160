"""The entry point of the ``hpcorch`` program."""

from __future__ import annotations

from hpcorch.runtime.context.startup_signals import hold_signals


def main() -> None:
    """Run the command that the command line names."""
    hold_signals()  # until the command is about to begin: what is imported before takes its time
    from hpcorch.cli.command_line import run

    run()
