"""Plain configurations: a run's composed task configuration as JSON-able data, without Hydra.

A run stores only how it differs from its base: dotted paths and the values there. Keys that hold a dot
themselves cannot be written so; such runs have a base of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def patched(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that has ``changes`` applied to a copy of ``base``, in their order.

    :param changes: dotted path (list positions as numbers) -> new value; missing dictionaries are made
    """
    config = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = config
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if isinstance(node, list):
            node[int(last)] = copy.deepcopy(value)
        else:
            node[last] = copy.deepcopy(value)
    return config
