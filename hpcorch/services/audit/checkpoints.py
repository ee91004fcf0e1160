"""Checkpoints against what attempts recorded: whole, unchanged, and restored from what was saved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcorch.model.entities import Run
from hpcorch.model.events import (
    AttemptEnded,
    AttemptSeeded,
    CheckpointAbsent,
    CheckpointRestored,
    CheckpointSaved,
)
from hpcorch.runtime.checkpoint.file import DamagedError, read_trailer, total_size, verify
from hpcorch.runtime.checkpoint.framework_files import verify_files
from hpcorch.runtime.checkpoint.names import FILES_SUFFIX, Found, group
from hpcorch.services.audit.evidence import Evidence, Place
from hpcorch.services.audit.findings import Examination


def examine_checkpoints(evidence: Evidence, run: Run, exam: Examination) -> None:
    """Compare every checkpoint of a run that should be there, byte for byte."""
    assert evidence.place is not None
    present = checkpoints_in(evidence.place.layout.checkpoints(run.run))
    wanted = evidence.place.checkpoints.chosen(evidence.checkpoints(run.run))
    for fact in wanted:
        path = evidence.place.file(fact.file)
        if path in present or path.exists():
            _examine(evidence.place, path, fact, present.get(path), run, exam)
        elif run.state.is_final:
            _missing(evidence, fact, run, exam, is_last=fact is wanted[-1])


def checkpoints_in(folder: Path) -> Mapping[Path, Found]:
    """The checkpoints in a folder, by the path of rank 0's file."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    return {found.parts[0]: found for found in group(entries) if 0 in found.parts}


def _examine(
    place: Place, path: Path, fact: CheckpointSaved, found: Found | None, run: Run, exam: Examination
) -> None:
    parts = found.parts if found is not None else {0: path}
    try:
        ranks = _examine_part(place, path, fact)
        for rank in range(1, ranks):
            if rank not in parts:
                raise DamagedError(f"the part of rank {rank} is missing")
            _examine_part(place, parts[rank], None)
    except (DamagedError, ValueError, TypeError) as error:
        exam.error(fact.file, f"the checkpoint of step {fact.step} is not what was saved: {error}", run=run.run)
    except OSError as error:
        exam.error(fact.file, f"the checkpoint of step {fact.step} cannot be read ({error.strerror})", run=run.run)
    else:
        exam.intact["checkpoint"] += 1


def _examine_part(place: Place, path: Path, saved: CheckpointSaved | None) -> int:
    """See that what one rank wrote is unchanged, with the files of another framework; of how many ranks it is.

    :param saved: what is on record of rank 0's
    :raises DamagedError: it is not
    :raises OSError: it cannot be read
    """
    with place.open(path) as file:
        if saved is not None:  # before gigabytes are read that cannot be what was saved
            size = file.seek(0, os.SEEK_END) + total_size(read_trailer(file)[0].files)
            if size != saved.size:
                raise DamagedError(f"it had {saved.size} bytes and has {size}")
        trailer, found = verify(file)
    if saved is not None and found != saved.digest:
        raise DamagedError(f"its digest was {saved.digest} and is {found}")
    if trailer.files is not None:
        verify_files(path.with_name(path.stem + FILES_SUFFIX), trailer.files, within=place.within)
    return trailer.ranks


def _missing(evidence: Evidence, fact: CheckpointSaved, run: Run, exam: Examination, *, is_last: bool) -> None:
    killed = any(not evidence.facts(AttemptEnded, str(name)) for name in evidence.attempts(run.run))
    if killed and not is_last:
        text = "is missing: an attempt that was killed may have removed it before recording that"
        exam.note(fact.file, f"the checkpoint of step {fact.step} {text}", run=run.run)
    else:
        exam.warn(
            fact.file,
            f"the checkpoint of step {fact.step} is missing, and no attempt recorded removing it",
            run=run.run,
        )


def examine_restores(evidence: Evidence, run: Run, exam: Examination) -> None:
    """See that each attempt went on from what an earlier one saved, with the state of every random generator."""
    digests: dict[str, str] = {}
    for name in evidence.attempts(run.run):
        source = str(name)
        attempt = f"attempt s{name.submission}.r{name.restart}"
        for restored in evidence.facts(CheckpointRestored, source):
            if digests.get(restored.file, restored.digest) != restored.digest:
                text = f"went on from {restored.file}, which differs from what was saved under that name"
                exam.error(restored.file, f"{attempt} {text}", run=run.run)
            _examine_generators(restored, evidence.facts(AttemptSeeded, source), attempt, run, exam)
        if digests and evidence.facts(CheckpointAbsent, source):
            text = "started from the beginning, although earlier attempts had saved checkpoints: none was valid"
            exam.warn(attempt, f"{attempt} {text}", run=run.run)
        digests |= {saved.file: saved.digest for saved in evidence.facts(CheckpointSaved, source)}


def _examine_generators(
    restored: CheckpointRestored, seeded: Sequence[AttemptSeeded], attempt: str, run: Run, exam: Examination
) -> None:
    wanted = {library for fact in seeded for library in fact.libraries}
    if fresh := sorted(wanted - set(restored.generators)):
        text = f"went on without the random state of {', '.join(fresh)}: they drew from the seed again"
        exam.warn(attempt, f"{attempt} {text}", run=run.run)
