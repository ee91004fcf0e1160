"""From compositions to what is frozen on disk: seeds, directories, manifest lines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcorch.journal.manifest import ManifestBase, ManifestRun
from hpcorch.launcher.composing.compose import Base, Composition
from hpcorch.model.seeds import run_seed
from hpcorch.model.values import patched


@dataclass(slots=True, kw_only=True)
class Planner:
    """Plans the runs of one sweep, over all of its launches.

    :param cwd: directory that relative output directories start from
    :param seen: digest of a configuration -> how many runs of the sweep have it; it counts those that are planned
    """

    root_seed: int
    cwd: Path
    seen: Counter[str] = field(default_factory=Counter)

    def plan(self, compositions: Iterable[Composition]) -> list[ManifestRun]:
        """The manifest's runs, in order. Each composition is planned once."""
        return [self._run(composition) for composition in compositions]

    def _run(self, composition: Composition) -> ManifestRun:
        digest = composition.config_digest
        occurrence = self.seen[digest]
        self.seen[digest] += 1
        seed = run_seed(
            patched(composition.base.config, composition.changes),
            root_seed=self.root_seed,
            config_digest=digest,
            occurrence=occurrence,
        )
        return ManifestRun(
            run=composition.job_num,
            base=composition.base.number,
            overrides=list(composition.task_overrides),
            params=dict(composition.params),
            changes=dict(composition.changes),
            config_digest=digest,
            seed=seed.value,
            seed_source=seed.source.value,
            directory=os.path.normpath(self.cwd / composition.output_dir),
            launcher=dict(composition.launcher),
            node={
                "overrides": list(composition.overrides),
                "override_dirname": composition.override_dirname,
                "frozen": dict(composition.frozen),
            },
        )


def manifest_bases(bases: Sequence[Base], runs: Iterable[ManifestRun]) -> list[ManifestBase]:
    """The bases that the runs start from, each once.

    :param bases: by number
    """
    return [
        ManifestBase(base=number, config=dict(bases[number].config), pickle=bases[number].pickle)
        for number in sorted({run.base for run in runs})
    ]
