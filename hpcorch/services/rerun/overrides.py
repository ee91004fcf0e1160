"""``--set KEY=VALUE``: other values in a configuration that was frozen, composed as Hydra composes them.

What was computed at the launch from a value that is changed, such as a run's name, would now be wrong, and the
resolvers that computed it are the program's. So it has to be given a value as well.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpcorch.errors import UsageError
from hpcorch.journal.manifest import FrozenRun, ManifestRun
from hpcorch.model.keys.launch_keys import KEYS
from hpcorch.model.seeds import SeedSource, run_seed
from hpcorch.model.values import ABSENT, join_path, patched, same, split_path
from hpcorch.services.actions.retry import parse_changes
from hpcorch.services.audit.diff import leaves
from hpcorch.services.rerun.computed import CALL, differing

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

_LAUNCHER = "hydra.launcher."
# These look only into the configuration, or are for the job to answer.
_REFERENCES = frozenset(
    {"hydra", "hpcorch", "oc.select", "oc.decode", "oc.create", "oc.dict.keys", "oc.dict.values"}
)
_DIRECTORY = ("hydra.sweep.dir", "hydra.sweep.subdir")  # a rerun has its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be other than frozen.

    :param texts: all of it, as it was typed
    :param launcher: launcher keys -> plain values
    :param overrides: of the task's configuration
    """

    texts: Sequence[str] = ()
    launcher: Mapping[str, Any]
    overrides: Sequence[Override] = ()


def read_changes(words: Sequence[str]) -> Changes:
    """Read overrides as Hydra's command line has them; launcher keys begin with ``hydra.launcher.``

    :raises UsageError: one has another form, or sets what cannot be changed
    """
    launcher = [word for word in words if word.startswith(_LAUNCHER)]
    overrides = [_parsed(word) for word in words if word not in launcher]
    return Changes(texts=list(words), launcher=parse_changes(launcher), overrides=overrides)


def _parsed(text: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UsageError(f"--set {text} cannot be read ({_first_line(error)}): write it as an override") from error
    if override.is_sweep_override():
        raise UsageError(f"--set {text} has several values, and a rerun takes one: launch the program to sweep")
    if call := next((name for name in CALL.findall(text) if name not in _REFERENCES), None):
        raise UsageError(f"--set {text} calls the resolver {call}, which only the program has: write the value")
    if override.is_hydra_override() or override.key_or_group == "hydra":
        raise UsageError(f"--set {text} changes Hydra's own configuration: of that only {_LAUNCHER}KEY can be set")
    return override


def changed_run(frozen: FrozenRun, overrides: Sequence[Override], *, root_seed: int) -> ManifestRun:
    """A run with other values in its configuration. A seed that was derived stays.

    :param root_seed: of its sweep
    :raises UsageError: a value cannot be set, or something that was computed from it has to be set as well
    """
    if not overrides:
        return frozen.run
    from hpcorch.runtime.program.call import config_digest, rebuilt
    from hpcorch.runtime.program.configuration import as_composed, plain, task_plain

    run, node = frozen.run, frozen.run.node
    before = _composed(frozen, replace(run, node={**node, "frozen": {}}))
    _check_groups(before, overrides)
    task = _merged(run.overrides, overrides)
    node = {
        **node,
        "overrides": _merged(node["overrides"], overrides),
        "override_dirname": _dirname(before, node["override_dirname"], task),
        "frozen": {},
    }
    again = replace(run, overrides=task, node=node)
    after = _composed(frozen, again)
    kept = _kept(run, before, after, overrides)
    again = replace(again, node={**node, "frozen": kept})
    config = rebuilt(replace(frozen, run=again), job_id="")
    values = task_plain(config)
    digest = config_digest(config)
    seed = run_seed(values, root_seed=root_seed, config_digest=digest, occurrence=0)
    own_seed = seed.source is SeedSource.CONFIG
    given = {_key(one): plain(one.value()) for one in overrides}
    return replace(
        again,
        params={**run.params, **{key: as_composed(key, value, values) for key, value in given.items()}},
        changes=dict(_changes(frozen.base.config, values)),
        config_digest=digest,
        seed=seed.value if own_seed else run.seed,
        seed_source=seed.source.value if own_seed else run.seed_source,
    )


def _composed(frozen: FrozenRun, run: ManifestRun) -> DictConfig:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from hpcorch.runtime.program.call import rebuilt

    try:
        return rebuilt(replace(frozen, run=run), job_id="")
    except (HydraException, OmegaConfBaseException) as error:
        cause = f"--set cannot be applied to run {run.run}: {_first_line(error.__cause__ or error)}"
        raise UsageError(f"{cause}{_hint(frozen, run)}") from error
    except ImportError as error:
        raise UsageError(
            f"the configuration of run {run.run} has classes that cannot be imported here ({error}): set PYTHONPATH"
            " as for the program"
        ) from error


def _hint(frozen: FrozenRun, run: ManifestRun) -> str:
    """What may have been meant by a key that is not there."""
    known = leaves(patched(frozen.base.config, frozen.run.changes))
    for key in (text.partition("=")[0] for text in run.node["overrides"]):
        if key[:1] in "+~":
            continue
        if key in KEYS:
            return f"; a key of the launcher is {_LAUNCHER}{key}"
        if not any(f"{one}.".startswith(f"{key}.") for one in known):
            close = difflib.get_close_matches(key, known, n=1)
            return f"; did you mean {close[0]}?" if close else ""
    return ""


def _key(override: Override) -> str:
    key: str = override.get_key_element()
    return key.lstrip("+~")


def _merged(texts: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """Overrides with others in the place of those that are written alike, or after them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    merged = list(texts)
    keys = [one.get_key_element() for one in OverridesParser.create().parse_overrides(merged)]
    for one in overrides:
        key = one.get_key_element()
        if key in keys:
            merged[len(keys) - 1 - keys[::-1].index(key)] = str(one.input_line)
        else:
            merged.append(str(one.input_line))
    return merged


def _check_groups(config: DictConfig, overrides: Sequence[Override]) -> None:
    for one in overrides:
        if one.package is not None or _is_group(config, one.key_or_group):
            raise UsageError(
                f"--set {one.input_line} chooses another configuration file, and a rerun has the frozen one: set"
                " single values of it, or launch the program"
            )


def _is_group(config: DictConfig, name: str) -> bool:
    """Whether a key names a folder of configurations, of which one is in the composed configuration or not."""
    runtime = config.hydra.runtime
    return name in runtime.choices or any(
        os.path.isdir(os.path.join(source.path, name))  # noqa: PTH112, PTH118 - text, of any content
        for source in runtime.config_sources
        if source.schema == "file"
    )


def _dirname(config: DictConfig, written: str, task: Sequence[str]) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from hpcorch.runtime.program.configuration import override_dirname, plain, raw

    naming = config.hydra.job.config.override_dirname
    named = {name: plain(raw(naming)[name]) for name in ("kv_sep", "item_sep", "exclude_keys")}
    return override_dirname(written, OverridesParser.create().parse_overrides(list(task)), named)


def _kept(run: ManifestRun, before: DictConfig, after: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """What was computed at the launch and holds still."""
    given = [tuple(_key(one).split(".")) for one in overrides]
    kept = {
        path: value
        for path, value in run.node["frozen"].items()
        if path not in _DIRECTORY and not any(tuple(split_path(path))[: len(key)] == key for key in given)
    }
    paths = [*kept, *(join_path(["hydra", "launcher", key]) for key in run.launcher)]
    stale = differing(before, after, paths)
    if stale:
        words = ", ".join(stale)
        is_other = all(path.startswith("hydra.") and not path.startswith(_LAUNCHER) for path in stale)
        cure = "launch the program" if is_other else "give it a value with --set, too"
        raise UsageError(f"{words} of run {run.run} was computed at the launch from what --set changes: {cure}")
    return kept


def _changes(
    base: Mapping[str, Any], values: Mapping[str, Any], above: Sequence[str] = ()
) -> Iterator[tuple[str, Any]]:
    """Path -> value: what makes the values of a base."""
    for key in {**base, **values}:
        path = [*above, key]
        was, value = base.get(key), values.get(key)
        if key not in values:
            yield join_path(path), ABSENT
        elif isinstance(was, dict) and isinstance(value, dict):
            yield from _changes(was, value, path)
        elif key not in base or not same(was, value):
            yield join_path(path), value


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
