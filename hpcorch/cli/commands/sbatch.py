"""``hpcorch sbatch``"""

from __future__ import annotations

import sys

import click

from hpcorch.cli.shared.options import examples
from hpcorch.cli.shared.output import note


class _AsWritten(click.Command):
    """Leaves its words alone: all of them are sbatch's, a ``--`` among them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["words"] = tuple(args)
        return []


@click.command(
    cls=_AsWritten,
    context_settings={"help_option_names": []},
    epilog=examples(
        "hpcorch sbatch job.sh 0.1",
        "hpcorch sbatch --array=0-9 --time=60 job.sh",
        "hpcorch sbatch --hpcorch-resource scratch_io=1 --array=0 job.sh",
        "alias sbatch='hpcorch sbatch'",
    ),
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[SBATCH FLAGS] [SCRIPT [ARGUMENTS]]")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Submit a script as sbatch does, and record it.

    Takes what sbatch takes, prints what sbatch prints, and exits with sbatch's exit code. The ledger records the
    script, its arguments and flags, the environment and the code; each index of an array is a run.

    \b
    --hpcorch-resource NAME=COUNT   how much each job or array element takes of a resource
    --hpcorch-pool NAME             a pool of the site profile: partition, QOS, account, reservation, nice

    In a script, write lines such as `#HPCORCH --resource scratch_io=1` or `#HPCORCH --pool critical`.
    """
    from hpcorch.services.user_scripts.sbatch import help_text, sbatch

    if words[:1] in (("-h",), ("--help",)):
        click.echo(f"{ctx.get_help()}\n\nsbatch's own flags:\n\n{help_text()}")
        return 0
    outcome = sbatch(words, tell=_print)
    for notice in outcome.notices:
        note(notice)
    return outcome.exit_code


def _print(line: bytes) -> None:
    if sys.stdout is not None:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
