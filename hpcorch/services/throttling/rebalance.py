"""A look at a user's throttled arrays, started by their tasks.

``python -m hpcorch.services.throttling.rebalance FOLDER`` is that process.

It knows of capacities what is on record, which is what the latest launch or command took from its site profile.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.choose import slurm_client


def main(folder: Path) -> int:
    """Rebalance; the exit code.

    :param folder: what is known of the arrays of one cluster
    """
    throttles = Throttles(folder.parent, folder.name, slurm_client())
    try:
        done = throttles.rebalance({}, force=True)
        if done.completing and any((done.waiting or {}).values()):
            time.sleep(tunables.ELEMENT_CLEANING_S)
            throttles.rebalance({}, force=True)
    except HpcorchError as error:
        sys.stderr.write(f"hpcorch: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
