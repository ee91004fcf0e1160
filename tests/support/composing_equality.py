"""Whether a run that we compose is the one that Hydra composes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hpcorch.errors import UsageError
from hpcorch.model.values import patched
from hpcorch.runtime.program.configuration import digest, fix, raw, task_plain
from tests.support.composing import Sweep, anatomy, rebuilt


def outcome(compose: Callable[..., Any], *args: Any) -> tuple[Any, Exception | None]:
    """What ``compose`` returns, or what it raises."""
    try:
        return compose(*args), None
    except Exception as error:  # noqa: BLE001 - whatever Hydra raises is the expectation
        return None, error


def assert_composed_as_by_hydra(sweep: Sweep, overrides: Sequence[str]) -> None:
    """The same error, or the same configuration node by node, once what is frozen is put into Hydra's."""
    expected, refusal = outcome(sweep.reference, overrides)
    run, error = outcome(sweep.composer.compose, overrides, 4)
    if refusal is not None:
        assert type(error) is type(refusal), overrides
        assert str(error) == str(refusal), overrides
        return
    if isinstance(error, UsageError):
        _assert_hydra_fails_to_resolve(expected)
        return
    assert error is None, overrides
    node = rebuilt(run)
    for path, value in run.frozen.items():
        fix(expected, path, value)
    assert anatomy(node) == anatomy(expected), overrides
    plain = task_plain(node)
    assert plain == patched(run.base.config, run.changes), overrides
    assert digest(plain) == run.config_digest, overrides


def _assert_hydra_fails_to_resolve(config: DictConfig) -> None:
    """The run could not have read its whole configuration, or made its directory, under Hydra either.

    What OmegaConf 2.4 refuses to read, 2.3 may give in spite of the declared type.
    """
    with pytest.raises((OmegaConfBaseException, HydraException)):
        _read_all(config)


def _read_all(config: DictConfig) -> None:
    for key in raw(config):
        if key != "hydra" and not OmegaConf.is_missing(config, key):
            OmegaConf.to_container(OmegaConf.create({"value": config[key]}), resolve=True)
    OmegaConf.to_container(config.hydra.sweep, resolve=True)
    for key, node in raw(config.typed).items() if "typed" in config else ():
        if isinstance(node, Container) and OmegaConf.is_interpolation(node):
            copy.deepcopy(node)._set_value(config.typed[key])
