"""Entry of a job: ``python -m hpcorch.runtime SWEEP_DIR --launch L --submission S --runs RANGES``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.model.ids import parse_ranges
from hpcorch.runtime.attempt.execute import lead
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import find_place
from hpcorch.runtime.context.signals import SignalOwner, end_group_of_orphan, end_with_parent


def main(argv: list[str] | None = None) -> int:
    """Run one task of a submission and return its exit code."""
    arguments = _parser().parse_args(argv)
    # Set by the script so that a file in the working directory cannot shadow a module of ours; the user's own
    # subprocesses must not inherit it.
    os.environ.pop("PYTHONSAFEPATH", None)
    signals = SignalOwner()
    signals.install()
    parent = end_with_parent() if arguments.task is not None else None
    try:
        place = find_place(
            arguments.sweep_dir,
            launch=arguments.launch,
            submission=arguments.submission,
            runs=arguments.runs,
            environ=os.environ,
            array_task=arguments.task,
            job_id=arguments.job_id,
        )
        if place.rank == 0:
            return lead(place, signals)
        from hpcorch.runtime.attempt.follow import follow

        return follow(place, signals)
    except HpcorchError as error:
        say(str(error))
        return error.exit_code
    finally:
        if parent is not None:
            end_group_of_orphan(parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hpcorch.runtime", description=__doc__)
    parser.add_argument("sweep_dir", type=Path, help="the sweep directory")
    parser.add_argument("--launch", type=int, required=True, help="first run of the launch")
    parser.add_argument("--submission", type=int, required=True, help="number of the submission")
    parser.add_argument("--runs", type=parse_ranges, required=True, help="run indices, array index 0 first")
    parser.add_argument("--task", type=int, help="array index, where no scheduler sets one")
    parser.add_argument("--job-id", help="job id, where no scheduler sets one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
