"""The environment for jobs of a sweep that are submitted later by another process than the launcher.

sbatch hands its caller's environment to the job. What is submitted later must be given the launch's, and not that
of a keeper on a compute node or of next week's shell, so the launch records it. All of it: nobody can know which
variables a task reads, and one that was left out, such as the key of a tracking server, would make the second try
differ from the first. Secrets are therefore kept as a private key is: in a file that only the owner can read, in a
folder that only the owner can enter. Slurm stores the same for every job. Variables of the job that a launch may
have been made in are taken out at each submission (:func:`hpcorch.slurm.environment.submission_environment`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from hpcorch.errors import RecordError
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout


def record_environment(layout: SweepLayout, environ: Mapping[str, str]) -> None:
    """Write down the environment of a sweep's first launch, mode 0600. Later launches change nothing.

    :raises OSError: it cannot be written
    """
    if not layout.environment.exists():
        # Bytes that are no text survive: JSON writes their surrogates as escapes.
        write_whole(layout.environment, json.dumps(dict(environ), sort_keys=True).encode("ascii"))


def recorded_environment(layout: SweepLayout) -> dict[str, str]:
    """The environment of the sweep's first launch.

    :raises RecordError: it is not there, or is damaged
    """
    try:
        found = json.loads(layout.environment.read_text(encoding="ascii"))
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RecordError(
            f"the environment of the launch cannot be read from {layout.environment} ({error}): without it nothing"
            " is submitted by itself; `hpcorch retry` uses your shell's"
        ) from error
