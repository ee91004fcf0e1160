"""Anchors: the head of a ledger's chain, written down where nobody can change it.

Whoever can write to the ledger can also make its chain anew over forged events, and nothing in the file would
show it. An anchor that was published before (a commit, a mail, a paper's appendix) then no longer fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hpcorch.errors import NotFoundError, UsageError
from hpcorch.journal.files import read_regular
from hpcorch.ledger import Ledger
from hpcorch.model.ids import named_runs, utc_now
from hpcorch.model.value_text import counted
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.audit.findings import Examination

_ANCHOR = re.compile(r"hpcorch-anchor (\d{1,15}) (sha256:[0-9a-f]{64})(?: (\S+))?")
_NAMED = 10  # sweeps that had news since
_START = f"sha256:{bytes(32).hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The head of a chain at a moment.

    :param events: how many events it vouches for
    :param digest: hash of the last of them
    :param time: when it was taken (UTC)
    """

    events: int
    digest: str
    time: str

    def __str__(self) -> str:
        return f"hpcorch-anchor {self.events} {self.digest} {self.time}".rstrip()


def anchor_of(ledger: Ledger) -> Anchor:
    """The anchor of a ledger as it is now."""
    head = ledger.head()
    return Anchor(events=head.events, digest=head.digest, time=utc_now())


def parse_anchors(text: str) -> list[Anchor]:
    """The anchors in a text, such as a file to which one is added each day.

    :raises UsageError: there is none
    """
    found = [Anchor(events=int(match[1]), digest=match[2], time=match[3] or "") for match in _ANCHOR.finditer(text)]
    if not found:
        raise UsageError(
            "there is no anchor in it: give a line that `hpcorch audit --anchor` printed, or a file that has some"
        )
    return found


def read_anchors(given: str) -> list[Anchor]:
    """The anchors in a file, or in the text itself.

    :raises NotFoundError: it names a file that cannot be read
    :raises UsageError: there is none in it
    """
    if _ANCHOR.search(given):
        return parse_anchors(given)
    try:
        return parse_anchors(read_regular(Path(given)).decode("utf-8", errors="replace"))
    except OSError as error:
        raise NotFoundError(
            f"{given!r} is neither an anchor nor a file that can be read ({error.strerror}): give a line that"
            " `hpcorch audit --anchor` printed, or a file that has some"
        ) from error


def examine_anchors(ledger: Ledger, anchors: Iterable[Anchor], exam: Examination) -> None:
    """See that the chain still goes through each anchor."""
    for anchor in anchors:
        found = ledger.digest_at(anchor.events) if anchor.events else _START
        touched = f"anchor at event {anchor.events}"
        if found is None:
            exam.error(
                touched,
                f"the ledger has fewer than the {anchor.events} events that the anchor vouches for: events were"
                " removed, or this is another ledger",
            )
        elif found != anchor.digest:
            exam.error(
                touched,
                f"the chain does not go through the anchor: event {anchor.events} has the hash {found}, and the"
                f" anchor says {anchor.digest}. Events up to it were changed after the anchor was taken, or the"
                " ledger was rebuilt",
            )
        else:
            exam.intact["anchor"] += 1
            _tell_later(ledger, anchor, touched, exam)


def _tell_later(ledger: Ledger, anchor: Anchor, touched: str, exam: Examination) -> None:
    """Name what the anchor does not vouch for."""
    later = ledger.since(anchor.events)
    for one in later[:_NAMED]:
        of = f" of {named_runs(one.runs)}" if one.runs else ""
        exam.note(
            touched,
            f"after it came {counted(one.events, 'event')}{of} of sweep {one.sweep}: {', '.join(one.kinds)}",
        )
    if len(later) > _NAMED:
        exam.note(touched, f"after it came events of {counted(len(later) - _NAMED, 'more sweep')}")
