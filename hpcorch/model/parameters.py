"""The parameters of a run: the keys and values that its overrides set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcorch.model.values import from_plain


def as_composed(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    """The plain value that a parameter has in a run: a declared type may have made another of what was typed.

    :param key: of an override, such as ``model.layers.0``
    :param value: the override's, in plain form; what is not one value, or has an interpolation, stays as typed
    :param config: the run's plain configuration
    """
    found: Any = config
    for name in key.split("."):
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return value
    return found if _is_one_value(value) and _is_one_value(found) else value


def _is_one_value(plain: Any) -> bool:
    if isinstance(plain, str):
        return "${" not in plain
    if isinstance(plain, dict):
        return len(plain) == 1 and not isinstance(from_plain(plain), dict)
    return not isinstance(plain, list)
