"""Compose the configurations of a sweep's runs: Hydra once per combination of groups, values by hand.

Hydra takes tens of milliseconds for one composition, most of it the same for all runs of a sweep. Here Hydra
composes one *base* for each combination of overrides that select configurations; what overrides of values do to
a base is tried once per override, by Hydra's own code (:mod:`hpcorch.launcher.composing.effects`), and put
together per run. A run for which equality with Hydra cannot be shown becomes a base of its own: slower, never
different. With a Hydra for which it has not been shown at all (:mod:`hpcorch.runtime.program.configuration`), that
is every run.
"""

from __future__ import annotations

import copy
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra.plugins.sweeper import Sweeper

from hpcorch.errors import HpcorchError, UsageError
from hpcorch.launcher.composing.composition import Base, Composition, Parsed, check_launcher
from hpcorch.launcher.composing.effects import Effect, UnprovableError
from hpcorch.launcher.composing.scratch import Scratch
from hpcorch.runtime.program.configuration import SHORTCUTS_PROVEN, plain, task_plain
from hpcorch.runtime.program.main_module import dumped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.override_parser.types import Override
    from hydra.types import HydraContext
    from omegaconf import DictConfig


# What a sweeper calls for all runs before it launches them.
_CHECK: Final = Sweeper.validate_batch_is_legal.__code__


class ComposerLoader(ConfigLoaderImpl):
    """Hydra's loader, except that runs of one sweep are composed from shared bases where that is provably equal."""

    def __init__(self, loader: ConfigLoaderImpl, composer: Composer, master_config: DictConfig) -> None:
        super().__init__(loader.get_search_path())
        self.repository = loader.repository
        self._composer = composer
        self._master = master_config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's, errors included. For a sweeper's check, which throws it away, none is made if it could be."""
        if master_config is self._master:
            is_check = sys._getframe(1).f_code is _CHECK  # noqa: SLF001 - Hydra does not say why it asks
            with suppress(HpcorchError):  # legal for Hydra; the launch will say what cannot be frozen
                if is_check:
                    if self._composer.is_legal(sweep_overrides):
                        return master_config
                elif (config := self._composer.load(sweep_overrides)) is not None:
                    return config
        return super().load_sweep_config(master_config, sweep_overrides)


def install_composer(
    context: HydraContext, loader: ConfigLoaderImpl, master_config: DictConfig
) -> tuple[HydraContext, Composer]:
    """Put a loader into ``context`` that composes runs by a composer of ours.

    :param loader: the one in ``context``
    :return: a context as it was before, for the task, and the composer that sweeper and launcher share
    """
    own = copy.copy(context)
    composer = Composer(loader, master_config)
    # A subclass may compose in ways that we know nothing of.
    if SHORTCUTS_PROVEN and type(loader) is ConfigLoaderImpl:
        context.config_loader = ComposerLoader(loader, composer, master_config)
    return own, composer


__all__ = ["Base", "Composer", "Composition"]


class Composer:
    """Composes runs of one sweep. Not safe for threads, as Hydra is not.

    :param config_loader: the one in Hydra's context
    :param master_config: the sweep's configuration, as handed to ``Launcher.setup``
    """

    def __init__(self, config_loader: ConfigLoaderImpl, master_config: DictConfig) -> None:
        self._loader = config_loader
        self._master = master_config
        self._parser = OverridesParser.create(config_loader=config_loader)
        self._repository = _repository(config_loader, master_config) if SHORTCUTS_PROVEN else None
        self._parsed: dict[str, Parsed] = {}
        self._shared: dict[tuple[str, ...], Scratch] = {}
        self._bases: list[Base] = []

    @property
    def bases(self) -> Sequence[Base]:
        """Every base made so far; compositions refer to them."""
        return self._bases

    def compose(self, overrides: Sequence[str], job_num: int) -> Composition:
        """The configuration of the run ``job_num``, equal to ``load_sweep_config(master, overrides)``.

        :raises hydra.errors.HydraException: Hydra cannot compose it; its own error
        :raises hpcorch.errors.UsageError: an interpolation cannot be resolved at submission, the output
            directory depends on something late, the configuration cannot be pickled, or chooses another launcher
        """
        parsed = self._understood(overrides)
        shared = self._shared_base(parsed)
        if shared is not None:
            scratch, effects = shared
            return scratch.compose(parsed, effects, job_num, self._master)
        return self._scratch(tuple(overrides)).compose(parsed, (), job_num, self._master)

    def is_legal(self, overrides: Sequence[str]) -> bool:
        """Whether Hydra can compose a run, as far as that is known without doing so.

        :raises hydra.errors.HydraException: Hydra cannot compose it; its own error
        :raises hpcorch.errors.UsageError: the configuration cannot be pickled, or chooses another launcher
        """
        return self._shared_base(self._understood(overrides)) is not None

    def load(self, overrides: Sequence[str]) -> DictConfig | None:
        """What ``load_sweep_config(master, overrides)`` returns, made from a shared base.

        :return: None if equality with Hydra cannot be shown
        :raises hydra.errors.HydraException: Hydra cannot compose it; its own error
        :raises hpcorch.errors.UsageError: the configuration cannot be pickled, or chooses another launcher
        """
        parsed = self._understood(overrides)
        shared = self._shared_base(parsed)
        return None if shared is None else shared[0].load(parsed, self._master)

    def _shared_base(self, parsed: Sequence[Parsed]) -> tuple[Scratch, Sequence[Effect]] | None:
        """The base to share, and what the values do to it; None if equality with Hydra cannot be shown."""
        if self._repository is None or not _is_orderly(parsed):
            return None
        selecting = tuple(item.text for item in parsed if not item.is_value)
        scratch = self._shared.get(selecting)
        if scratch is None:
            scratch = self._shared[selecting] = self._scratch(selecting)
        try:
            return scratch, scratch.effects([item for item in parsed if item.is_value])
        except UnprovableError:
            return None

    def _scratch(self, overrides: tuple[str, ...]) -> Scratch:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        check_launcher(config, self._master, overrides)
        base = Base(
            number=len(self._bases),
            overrides=overrides,
            pickle=_pickled(config),
            config=task_plain(config),
            choices=plain(config.hydra.runtime.choices),
        )
        self._bases.append(base)
        return Scratch(base, config, self._master)

    def _understood(self, overrides: Sequence[str]) -> list[Parsed]:
        try:
            return [self._understand(text) for text in overrides]
        except OverrideParseException:
            self._loader.load_sweep_config(self._master, list(overrides))  # its error says which of them it is
            raise

    def _understand(self, text: str) -> Parsed:
        known = self._parsed.get(text)
        if known is None:
            (override,) = self._parser.parse_overrides([text])
            known = self._parsed[text] = self._classified(text, override)
        return known

    def _classified(self, text: str, override: Override) -> Parsed:
        is_config = self._is_config(override)
        is_hydra = override.is_hydra_override()
        key = override.get_key_element().lstrip("+")
        return Parsed(
            text=text,
            override=override,
            is_hydra=is_hydra,
            is_config=is_config,
            is_value=is_config and not is_hydra and override.key_or_group != "hydra",
            param=(key, None if override.is_sweep_override() else plain(override.value())),
        )

    def _is_config(self, override: Override) -> bool:
        if self._repository is None or override.is_sweep_override():
            return False
        try:
            return bool(Overrides(self._repository, [override]).config_overrides)
        except (ConfigCompositionException, ValueError):
            return False  # Hydra refuses it; it shall do so when it composes


def _repository(loader: ConfigLoaderImpl, master: DictConfig) -> CachingConfigRepository:
    """The configurations that the sweep may select from."""
    given = plain(master.hydra.overrides.hydra)  # unresolved: they may name what only a run has
    parsed = OverridesParser.create().parse_overrides(given)
    repository = CachingConfigRepository(loader.repository)
    loader._process_config_searchpath(master.hydra.job.config_name, parsed, repository)  # noqa: SLF001
    return repository


def _is_orderly(parsed: Sequence[Parsed]) -> bool:
    """Whether overrides of values come after all others that Hydra applies to the composed configuration.

    A search path of the run's own may hold groups unknown here, so that classification could be wrong.
    """
    values_began = False
    for item in parsed:
        values_began = values_began or item.is_value
        if values_began and item.is_config and not item.is_value:
            return False
        if item.is_hydra and "searchpath" in item.override.key_or_group:
            return False
    return True


def _pickled(config: DictConfig) -> bytes:
    """Classes go by reference where they have an address. Those of a script go by value, and are one class with
    those of that name in the main module that a job loads."""
    try:
        return dumped(config)
    except Exception as error:
        raise UsageError(
            f"The composed configuration cannot be pickled: {error}. Keep objects that cannot be copied to "
            f"another process out of the configuration and out of cached resolvers."
        ) from error
