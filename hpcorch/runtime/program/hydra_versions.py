"""What differs between Hydra 1.3 and 1.4, in one place.

Hydra 1.4, with OmegaConf 2.4, is the only one that works on Python 3.14. It composes by other rules (aliases, keys
with escapes, tuples), for which our shortcuts have not been shown to equal Hydra's own way: they are not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import hydra
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.override_parser.types import Override

#: Whether our shortcuts through Hydra and OmegaConf are shown to equal them: only then may they be taken.
SHORTCUTS_PROVEN: Final = hydra.__version__.startswith("1.3.")

#: What OmegaConf 2.3 calls new is deprecated in 2.4, whose ``register_resolver`` is another function in 2.3.
register_resolver: Final[Callable[..., None]] = (
    OmegaConf.register_new_resolver if SHORTCUTS_PROVEN else OmegaConf.register_resolver
)


def override_dirname(written: Any, overrides: Sequence[Override], naming: Mapping[str, Any]) -> str:
    """What a run's ``hydra.job.override_dirname`` is, interpolations unresolved.

    Hydra 1.3 stores the name when it composes; from 1.4 on the node is a call that makes it when it is read.

    :param written: the node's value in the composed configuration
    :param overrides: all of the run's but those of Hydra's own node
    :param naming: ``hydra.job.config.override_dirname``
    """
    if not SHORTCUTS_PROVEN:
        return str(written)
    from hydra._internal.config_loader_impl import get_overrides_dirname

    return get_overrides_dirname(overrides=list(overrides), **naming)
