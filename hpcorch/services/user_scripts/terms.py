"""Whether the site profile allows a user's script, and on what terms."""

from __future__ import annotations

from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.services.site.project_profile import (
    check_checkout,
    check_cluster,
    lease_places,
    load_profile,
    throttle_capacities,
)
from hpcorch.services.site.terms import RunsOnTerms, reckon, terms_of
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.services.user_scripts.request import Granted, ScriptRequest
from hpcorch.slurm.protocol import SlurmClient


def judge(request: ScriptRequest, project: Path, client: SlurmClient, cwd: Path) -> Granted:
    """What the project's profile makes of a request.

    :raises UsageError: there is no such pool or resource, or too little of it
    :raises PolicyError: the profile forbids it, with the numbers
    :raises SlurmUnavailableError: Slurm does not answer
    """
    profile = load_profile(project)
    terms = terms_of(profile, request.keys())
    if terms.keys.throttles and request.indices is None:
        raise UsageError(
            f"{', '.join(terms.keys.throttles)} is shared among the elements of arrays (enforced: throttle):"
            " submit the script as an array, such as --array=0"
        )
    check_cluster(profile, client)
    warning = check_checkout(profile, cwd)
    reckon(profile, [RunsOnTerms(runs=len(request.indices or [0]), terms=terms)], client)
    return Granted(
        keys=terms.keys,
        leases=lease_places(profile, request.asked.resources),
        warnings=[] if warning is None else [warning],
    )


def rebalance(project: Path, client: SlurmClient) -> None:
    """Let the elements of a throttled array start as far as there is room for them."""
    throttles = Throttles(state_directory(), client.config().cluster, client)
    throttles.rebalance(throttle_capacities(load_profile(project)), force=True)
