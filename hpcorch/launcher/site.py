"""What the site profile makes of a launch: terms for each run, and whether the sweep is allowed at all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.journal.manifest import ManifestRun
from hpcorch.model.keys.launch_keys import OF_THE_LAUNCH, LaunchKeys
from hpcorch.resources.envelope import WorstCase
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.site.project_profile import check_checkout, check_cluster, load_profile
from hpcorch.services.site.terms import RunsOnTerms, Terms, reckon, terms_of
from hpcorch.services.throttling.state import state_directory
from hpcorch.slurm.protocol import SlurmClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A launch with the pool, the resources and the licences of the site profile in its keys.

    :param keys: of the launch
    :param runs: with those keys of their own that differ
    :param asked: run -> what it asks for
    """

    keys: LaunchKeys
    runs: Sequence[ManifestRun]
    asked: Mapping[int, LaunchKeys]


@dataclass(slots=True, kw_only=True)
class Site:
    """The site profile as it bears on one sweep, over all of its launches.

    :param client: None where no cluster is asked
    :ivar worst: what the sweep can take in the worst case, once a launch was settled
    :ivar caps: what bounds how many of its runs are at work at once -> how many
    """

    profile: Profile
    client: SlurmClient | None
    worst: WorstCase | None = None
    caps: Mapping[str, int] = field(default_factory=dict)
    _parts: list[RunsOnTerms] = field(default_factory=list)

    @classmethod
    def find(cls, project: Path, client: SlurmClient | None) -> Site:
        """The profile that serves a project.

        :raises UsageError: something in it is wrong, or it is about another cluster
        :raises PolicyError: it wants a clean checkout, and there are uncommitted changes
        """
        profile = load_profile(project)
        if client is not None:
            check_cluster(profile, client)
        if warning := check_checkout(profile, Path.cwd()):
            log.warning("%s", warning)
        return cls(profile=profile, client=client)

    def settle(self, keys: LaunchKeys, runs: Sequence[ManifestRun]) -> Settled:
        """The launch as it is recorded and submitted.

        :raises PolicyError: the sweep with these runs breaks a limit or policy; the text has the numbers
        :raises UsageError: a pool or resource does not exist, a value is none that Slurm can be given, or a
            run could never start
        :raises SlurmUnavailableError: Slurm does not answer
        """
        common = terms_of(self.profile, keys).keys
        own = {run.run: keys.changed(run.launcher) for run in runs}
        terms = {asked: self._terms(asked) for asked in dict.fromkeys(own.values())}
        changes = {asked: terms[asked].keys.changes_since(common) for asked in terms}
        launch, counts = 1 + max((part.launch for part in self._parts), default=0), Counter(own.values())
        parts = [RunsOnTerms(runs=counts[asked], terms=terms[asked], launch=launch) for asked in terms]
        self.worst, self.caps = reckon(self.profile, [*self._parts, *parts], self.client)
        self._parts += parts
        return Settled(
            keys=common,
            runs=[replace(run, launcher=changes[own[run.run]]) for run in runs],
            asked={run: terms[asked].keys for run, asked in own.items()},
        )

    def _terms(self, keys: LaunchKeys) -> Terms:
        terms = terms_of(self.profile, keys)
        terms.keys.check_warning()
        terms.keys.check_packed()
        return terms

    def throttle_folder(self, asked: Mapping[int, LaunchKeys]) -> str | None:
        """Where the user's throttled arrays are on record, if these runs look after them, or may have to.

        :param asked: run -> what it asks for
        """
        if self.client is None or not any(_is_counted(keys, len(asked)) for keys in set(asked.values())):
            return None
        return str(state_directory() / self.client.config().cluster)


def settle_here(keys: LaunchKeys, runs: Sequence[ManifestRun]) -> Settled:
    """A launch on this machine, which no profile has a say in.

    :raises UsageError: a run asks for what this machine cannot do
    """
    own = {run.run: keys.changed(run.launcher) for run in runs}
    changes = {asked: asked.changes_since(keys) for asked in dict.fromkeys(own.values())}
    return Settled(
        keys=keys,
        runs=[replace(run, launcher=changes[own[run.run]]) for run in runs],
        asked=own,
    )


def check_of_the_launch(keys: LaunchKeys, runs: Sequence[ManifestRun]) -> None:
    """Refuse runs with values of their own for keys that a launch has one value of.

    :raises UsageError: there is such a run
    """
    for run in runs:
        for name in sorted(OF_THE_LAUNCH & run.launcher.keys()):
            if getattr(keys.changed({name: run.launcher[name]}), name) != getattr(keys, name):
                called = f"run {run.run} ({' '.join(run.overrides)})"
                raise UsageError(
                    f"hydra.launcher.{name} holds for the whole launch, but {called} sets it to"
                    f" {run.launcher[name]!r}: set it on the command line, or in a configuration that is not swept"
                )


def _is_counted(keys: LaunchKeys, runs: int) -> bool:
    """Whether throttles may count a run with these keys: a later array of its sweep may come beside its own."""
    return bool(keys.throttles) or (keys.asked_parallelism is not None and keys.asked_parallelism < runs)
