"""Whether the site profile takes a user's script, and on what terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.resources.profile import Profile
from hpcorch.services.script_request import ScriptRequest
from hpcorch.services.site import check_checkout, check_cluster
from hpcorch.services.terms import Share, Terms, reckon, terms_of
from hpcorch.slurm.protocol import SlurmClient


def check_terms(
    profile: Profile, request: ScriptRequest, client: SlurmClient, cwd: Path
) -> tuple[Terms, list[str]]:
    """What the profile makes of a request; sentences on what it does not like and allows.

    :raises UsageError: there is no such pool or resource, or too little of it
    :raises PolicyError: the profile forbids it, with the numbers
    :raises SlurmUnavailableError: Slurm does not answer
    """
    terms = terms_of(profile, request.keys())
    if terms.throttles and request.indices is None:
        raise UsageError(
            f"{', '.join(terms.throttles)} is shared out among the elements of arrays (enforced: throttle): submit"
            " the script as an array, such as --array=0"
        )
    if profile.source is None:
        return terms, []
    check_cluster(profile, client)
    warning = check_checkout(profile, cwd)
    reckon(profile, [Share(runs=len(request.indices or [0]), terms=terms)], client)
    return terms, [] if warning is None else [warning]


def throttle_record(request: ScriptRequest, terms: Terms) -> dict[str, Any] | None:
    """What is recorded of a request that shares throttled resources."""
    if not terms.throttles:
        return None
    return {"units": dict(terms.throttles), "bound": terms.keys.get("array_parallelism", request.parallel)}
