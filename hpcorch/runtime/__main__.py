"""Entry of a job: ``python -m hpcorch.runtime SWEEP_DIR --launch L --submission S --runs RANGES``."""

from __future__ import annotations

import sys

from hpcorch.model.processes import SERVE
from hpcorch.runtime.context.startup_signals import hold_signals


def main(argv: list[str] | None = None) -> int:
    """Execute one task of a submission, or serve a pool of them, and return the exit code."""
    hold_signals()  # until the handlers are installed: what is imported before takes its time
    if SERVE in (sys.argv if argv is None else argv):
        from hpcorch.runtime.fork_server.server import serve

        return serve(argv)
    from hpcorch.runtime.attempt.task import execute_task

    return execute_task(argv)


if __name__ == "__main__":
    sys.exit(main())
