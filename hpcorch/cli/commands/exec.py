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
    help="Hold slots of a resource that leases enforce, while the command runs; repeat for several.",
)
@click.option(
    "--result",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the JSON that the command writes to this file as its result. If it writes none, the exit code stays"
    " the same, and `show` and `audit` say so.",
)
@click.option("--requeue", is_flag=True, help="Put the job back into the queue near its time limit.")
@click.option(
    "--signal-delay",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Send the command SIGTERM this long before the time limit, so that it can save. By default 120, or half"
    " of what is left of a shorter job. With --requeue.",
)
@click.option(
    "--max-requeues",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Requeue at most this many times. With --requeue.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Kill the command this long after a SIGTERM, SIGINT or SIGHUP was passed on to it. By default 25 outside"
    " of Slurm; in a job Slurm kills it.",
)
@click.option("--name", metavar="NAME", help="The name of the sweep; by default that of the program.")
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
    """Execute a command and record it.

    Works in any Slurm job and outside of Slurm. In a job of `hpcorch sbatch` the command is a step of the script's
    run. Elsewhere it is a sweep with one run; if Slurm requeues the job, it is the next attempt of the same run,
    with the same seed and checkpoints.

    The command finds HPCORCH_SEED, HPCORCH_CHECKPOINT_DIR and HPCORCH_RESUME in its environment. Signals are passed
    on to it. It has the streams of this program. The exit code is the command's, or 128 plus the number of the
    signal that ended it.
    """
    from hpcorch.services.exec.execute import execute
    from hpcorch.services.exec.time_limit import Treatment

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
