"""Auditing a bundle: by itself, wherever it was carried."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpcorch.errors import NotFoundError, RecordError
from hpcorch.journal.files import read_regular
from hpcorch.journal.folders import raise_error, walk
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR, SweepLayout
from hpcorch.ledger import Ledger
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import digest_of
from hpcorch.services.audit.anchors import Anchor
from hpcorch.services.audit.audit import Audit, audit
from hpcorch.services.audit.bundle import ABOUT, FORMAT, SNAPSHOTS, SUMS, SWEEP, VERSION, sealed_files
from hpcorch.services.audit.evidence import Checkpoints, Place
from hpcorch.services.audit.findings import Examination
from hpcorch.services.selection.selectors import Selector, parse_selector


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedBundle:
    """A bundle's parts.

    :param selector: its runs
    :param ledger: the file
    :param place: of the sweep's record
    """

    sweep: str
    selector: Selector
    ledger: Path
    place: Place


def audit_bundle(directory: Path, *, against: Sequence[Anchor] = ()) -> Audit:
    """Compare all files of a bundle with its list, then audit its sweep as in the original ledger.

    :param against: anchors of the bundle's own ledger
    :raises NotFoundError: it is no bundle
    :raises RecordError: a newer version wrote it, or it is damaged so that nothing can be read
    """
    bundle = open_bundle(directory)
    exam = Examination(sweep=bundle.sweep)
    examine_sums(directory, exam)
    with Ledger.unchanged(bundle.ledger, alone=True) as ledger:
        return audit(
            ledger, [bundle.selector], against=against, places=lambda _: bundle.place, before=exam.findings
        )


def open_bundle(directory: Path) -> ReceivedBundle:
    """Where the parts of a bundle are.

    :raises NotFoundError: it is no bundle
    :raises RecordError: a newer version wrote it, or what it says of itself was changed
    """
    directory = directory.absolute()
    about = _about(directory)
    _refuse_links(directory)
    return ReceivedBundle(
        sweep=str(about["sweep"]),
        selector=parse_selector(f"{about['sweep']}/{about['runs']}"),
        ledger=directory / STATE_DIR / LEDGER_NAME,
        place=Place(
            layout=SweepLayout(directory / SWEEP),
            snapshots=directory / SNAPSHOTS,
            checkpoints=Checkpoints(about["checkpoints"]),
            within=directory,
        ),
    )


def _refuse_links(directory: Path) -> None:
    """Refuse what is no regular file, and links that lead out: a bundle's files are all in it.

    :raises RecordError: there is one, or a folder is closed or nested too deep; nothing of the bundle was opened
    """
    try:
        found = next(_oddities(directory), None)
    except OSError as error:
        found = f"a folder in it cannot be read ({error.strerror})"
    if found is not None:
        raise RecordError(f"{directory} is not a bundle that can be trusted: {found}. Nothing of it was compared")


def _oddities(directory: Path) -> Iterator[str]:
    inside = os.path.realpath(directory)
    for folder, folders, names in walk(directory, on_error=raise_error):
        for path in (Path(folder, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            is_link = stat.S_ISLNK(mode)
            if is_link and not Path(os.path.realpath(path)).is_relative_to(inside):
                yield f"{path.relative_to(directory)} is a link that leads out of it"
            elif not (is_link or stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                yield f"{path.relative_to(directory)} is neither a file, a folder nor a link"


def _about(directory: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(read_regular(directory / ABOUT, within=directory))
        if about["format"] != FORMAT or about["version"] != VERSION or not {"sweep", "runs"} <= about.keys():
            raise RecordError(f"{directory} is a bundle of another version: use the hpcorch that wrote it")
        Checkpoints(about["checkpoints"])
    except OSError as error:
        raise NotFoundError(
            f"{directory} is not a bundle ({ABOUT} cannot be read: {error.strerror}): name a directory that"
            " `hpcorch export bundle` wrote"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(f"{directory / ABOUT} was changed and cannot be read ({error})") from error
    return about


def examine_sums(directory: Path, exam: Examination) -> None:
    """Compare every file with the list of digests."""
    try:
        text = read_regular(directory / SUMS, within=directory).decode("utf-8", "surrogateescape")
    except OSError as error:
        exam.error(SUMS, f"the list of digests cannot be read ({error.strerror})")
        return
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    present = {str(path.relative_to(directory)): path for path in sealed_files(directory)}
    for name, digest in listed.items():
        if name not in present:
            exam.error(name, f"it is listed in {SUMS} but missing")
            continue
        try:
            is_same = digest_of(present[name], within=directory) == f"sha256:{digest}"
        except OSError as error:
            exam.error(name, f"it cannot be read ({error.strerror})")
            continue
        if not is_same:
            exam.error(name, f"it was changed: its digest is not the one in {SUMS}")
    for name in sorted(present.keys() - listed.keys()):
        exam.warn(name, f"it is not listed in {SUMS}: it was added later")
