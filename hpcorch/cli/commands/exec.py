"""``hpcorch exec``: a command with a record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hpcorch.cli.shared.options import Place, examples, pass_place


def _leases(_ctx: click.Context, _param: click.Parameter, given: Sequence[str]) -> dict[str, int]:
    """``scratch_io`` or ``scratch_io=2`` as resource -> slots."""
    found: dict[str, int] = {}
    for text in given:
        name, equals, count = text.partition("=")
        if not name or (equals and not count.isdecimal()) or name in found:
            raise click.BadParameter(f"{text!r}: say RESOURCE or RESOURCE=N, each resource once")
        found[name] = int(count) if equals else 1
    return found


@click.command(
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS] --",
    epilog=examples(
        "hpcorch exec -- python train.py --epochs 10",
        "hpcorch exec --lease scratch_io -- cp -r /data $TMPDIR",
        "hpcorch exec --requeue --result out.json -- ./simulate input",
    ),
)
@click.option(
    "--lease",
    "leases",
    multiple=True,
    callback=_leases,
    metavar="RESOURCE[=N]",
    help="Hold slots of a resource that leases enforce, for the life of the command. May be repeated.",
)
@click.option(
    "--result",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take what the command writes to this file, as JSON, for its result. If it writes none, the exit code"
    " stays the command's, and `show` and `audit` tell.",
)
@click.option("--requeue", is_flag=True, help="Put the job back into the queue when its time limit is near.")
@click.option(
    "--signal-delay",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="So long before the time limit the command is sent SIGTERM, to save what it needs. By default 120, or half"
    " of what is left of a shorter job. With --requeue.",
)
@click.option(
    "--max-requeues",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Requeue at most so often. With --requeue.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Kill the command so long after a SIGTERM, SIGINT or SIGHUP that was passed on to it. By default 25"
    " outside of Slurm; in a job Slurm does so when it will.",
)
@click.option("--name", metavar="NAME", help="What the sweep is called; by default as the program.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
@pass_place
def command(
    place: Place,
    leases: dict[str, int],
    result: Path | None,
    *,
    requeue: bool,
    signal_delay: float | None,
    max_requeues: int,
    grace: float | None,
    name: str | None,
    words: Sequence[str],
) -> int:
    """Execute a command and record what becomes of it.

    Works inside of any Slurm job and outside of Slurm. In a job of `hpcorch sbatch` the command is a step of the
    run that the script is. Elsewhere it is a sweep of one run by itself, and when Slurm requeues its job, the next
    attempt of the same run: same seed, same checkpoints.

    The command finds HPCORCH_SEED, HPCORCH_CHECKPOINT_DIR and HPCORCH_RESUME in its environment. Signals that
    arrive here are passed on to it. Its streams are untouched. Its exit code becomes that of this command: 128 and
    the number of a signal that ended it.
    """
    from hpcorch.services.commands.execute import execute
    from hpcorch.services.commands.time_limit import Treatment

    treatment = Treatment(
        name=name,
        leases=leases,
        result=result,
        grace_s=grace,
        requeue=requeue,
        signal_delay_s=signal_delay,
        max_requeues=max_requeues,
    )
    sys.stdout.flush()
    return execute(words, treatment, ledger=place.named)
