"""Seeding of the random generators that a process has loaded."""

from __future__ import annotations

import random
import sys

_NUMPY_SEED_LIMIT = 2**32


def seed_libraries(seed: int) -> list[str]:
    """Seed ``random``, and NumPy and PyTorch (CPU and CUDA) where they are imported already.

    Libraries are not imported for it: that would cost seconds in programs that do not use them.

    :return: the names of the libraries seeded
    """
    random.seed(seed)
    seeded = ["random"]
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % _NUMPY_SEED_LIMIT)
        seeded.append("numpy")
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)  # seeds every CUDA device as well
        seeded.append("torch")
    return seeded
