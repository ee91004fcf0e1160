"""What the site profile makes of a launch: terms for each run, and whether the sweep is allowed at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpcorch.journal.manifest import ManifestRun
from hpcorch.resources.envelope import WorstCase
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.site.profile import check_checkout, check_cluster, load_profile
from hpcorch.services.site.terms import THROTTLES, Share, reckon, terms_of
from hpcorch.services.throttling.state import state_directory
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch.options import DEFAULT_PARALLELISM, JobOptions

log = logging.getLogger(__name__)


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
    _shares: list[Share] = field(default_factory=list)

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

    def settle(
        self, params: Mapping[str, Any], runs: Sequence[ManifestRun]
    ) -> tuple[dict[str, Any], list[ManifestRun]]:
        """The launch's keys, and the runs with those of their own, as they are recorded and submitted.

        :raises PolicyError: the sweep with these runs breaks a limit or policy; the text has the numbers
        :raises UsageError: a pool or resource does not exist, a value is none that Slurm can be given, or a
            run could never start
        :raises SlurmUnavailableError: Slurm does not answer
        """
        common = dict(terms_of(self.profile, params).keys)
        shares: dict[str, Share] = {}
        settled = []
        for run in runs:
            text = json.dumps(run.launcher, sort_keys=True)
            share = shares.get(text) or self._share({**params, **run.launcher})
            shares[text] = replace(share, runs=share.runs + 1)
            keys = share.terms.keys
            own = {key: keys.get(key) for key in {**common, **keys} if keys.get(key) != common.get(key)}
            settled.append(replace(run, launcher=own))
        launch = 1 + max((share.launch for share in self._shares), default=0)
        together = [*self._shares, *(replace(share, launch=launch) for share in shares.values())]
        self.worst, self.caps = reckon(self.profile, together, self.client)
        self._shares = together
        return common, settled

    def _share(self, params: Mapping[str, Any]) -> Share:
        terms = terms_of(self.profile, params)
        JobOptions.from_launcher(terms.keys).check_warning()
        return Share(runs=0, terms=terms)

    def throttle_folder(self, keys: Mapping[str, Any], runs: Sequence[ManifestRun]) -> str | None:
        """Where the user's throttled arrays are on record, if these runs look after them, or may have to."""
        if self.client is None or not any(_is_counted({**keys, **run.launcher}, len(runs)) for run in runs):
            return None
        return str(state_directory() / self.client.config().cluster)


def _is_counted(keys: Mapping[str, Any], runs: int) -> bool:
    """Whether throttles may count a run with these keys: a later array of its sweep may come beside its own."""
    asked = keys.get("array_parallelism")
    return bool(keys.get(THROTTLES)) or (asked not in (None, DEFAULT_PARALLELISM) and int(asked) < runs)
