"""One run's composed configuration, as values to be recorded: a shared base and what differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcorch.quick_dataclasses import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hydra.core.override_parser.types import Override


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One composition by Hydra, shared by all runs that differ from it in values only.

    :param number: its position in :attr:`Composer.bases`
    :param overrides: those that were composed, in order
    :param pickle: the composed configuration, for :func:`hpcorch.runtime.program.configuration.rebuild`
    :param config: its plain task configuration
    :param choices: the configuration chosen for each group
    """

    number: int
    overrides: tuple[str, ...]
    pickle: bytes
    config: Mapping[str, Any]
    choices: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """One run's configuration, as a base and what differs from it; all values but ``base`` are JSON.

    :param overrides: of values, to be applied to the base on the node
    :param task_overrides: all of the run's, as ``hydra.overrides.task`` lists them
    :param override_dirname: Hydra's ``hydra.job.override_dirname``
    :param frozen: what was resolved at submission: plain value by path, Hydra's own node included
    :param changes: ``patched(base.config, changes)`` is the run's plain task configuration
    :param config_digest: ``sha256:<hex>`` of that plain task configuration
    :param output_dir: ``hydra.sweep.dir`` joined with ``hydra.sweep.subdir``, resolved
    :param params: plain value by key of what the sweep sets, as it is composed, group choices included; None for a
        deletion
    :param launcher: the launcher's keys that are the run's own: they depend on its values, or its groups set them
    """

    base: Base
    job_num: int
    overrides: tuple[str, ...]
    task_overrides: tuple[str, ...]
    override_dirname: str
    frozen: Mapping[str, Any]
    changes: Mapping[str, Any]
    config_digest: str
    output_dir: str
    params: Mapping[str, Any]
    launcher: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One override's text, understood once.

    :param is_value: Hydra applies it to the composed configuration, outside Hydra's own node
    :param is_config: Hydra applies it to the composed configuration, wherever
    """

    text: str
    override: Override
    is_hydra: bool
    is_value: bool
    is_config: bool
    param: tuple[str, Any]
