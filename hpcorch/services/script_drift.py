"""Whether a script finds the code that it was submitted with. It runs what is there, and the record says so."""

from __future__ import annotations

from collections.abc import Callable

from hpcorch.errors import HpcorchError
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.model.events import DriftFound
from hpcorch.provenance.live_code import Changed, changed_files
from hpcorch.runtime.output import say

_RECORDED = 50
_TOLD = 3


def look_for_drift(header: ManifestHeader, record: Callable[[DriftFound], None]) -> None:
    """Put on record which files of the code are not as they were when the script was submitted, and tell.

    :param record: writes a fact into the attempt's journal
    """
    if header.code is None:
        return
    try:
        changed = changed_files(header.code)
    except HpcorchError as error:
        say(f"whether the code is as it was submitted cannot be told: {error}")
        return
    for one in changed[:_RECORDED]:
        record(_finding(one))
    if changed:
        more = len(changed) - _TOLD
        named = ", ".join(one.path for one in changed[:_TOLD]) + (f" and {more} more" if more > 0 else "")
        say(f"drift of the code: {named} changed since the script was submitted; it runs what is there now")


def _finding(changed: Changed) -> DriftFound:
    return DriftFound(
        aspect="code",
        severity="major",
        what=f"file {changed.path}",
        policy="warn",
        before=changed.before,
        after=changed.after,
    )
