"""Entry of a job: ``python -m hpcorch.runtime SWEEP_DIR --launch L --submission S --runs RANGES``."""

from __future__ import annotations

import sys

from hpcorch.runtime.context.startup_signals import hold_signals


def main(argv: list[str] | None = None) -> int:
    """Execute one task of a submission and return its exit code."""
    hold_signals()  # until the handlers are installed: what is imported before takes its time
    from hpcorch.runtime.attempt.task import execute_task

    return execute_task(argv)


if __name__ == "__main__":
    sys.exit(main())
