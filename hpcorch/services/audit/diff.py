"""What two runs differ in: configuration, seed, code, environment, inputs, result and metrics."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcorch.errors import HpcorchError, UsageError
from hpcorch.journal.archives import open_archive
from hpcorch.journal.snapshots import Kind, printable
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.values import same
from hpcorch.provenance.environment.changes import differences
from hpcorch.provenance.environment.record import Environment
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.audit.evidence import Evidence, find_place, gather
from hpcorch.services.audit.runs import inputs_of
from hpcorch.services.selection.selectors import Selector, one_of, select_runs

_CONTEXT_LINES = 3
_MODES = {Kind.FILE: "100644", Kind.EXECUTABLE: "100755", Kind.LINK: "120000"}  # as git has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value that is not the same in both runs.

    :param before: the first run's; None if it has none
    :param after: the second run's
    """

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file of the code that is not the same in both snapshots.

    :param change: added, removed, changed
    :param text: a unified diff as ``git diff`` writes it; None for a file that is not text
    """

    path: str
    change: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDifference:
    """Two runs, section by section.

    :param sections: configuration, seed, environment, inputs, result, metrics -> what differs
    :param unknown: sentences on what could not be compared
    """

    first: Run
    second: Run
    sections: Mapping[str, Sequence[Change]]
    code: Sequence[FileChange]
    unknown: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0 if nothing differs, 1 otherwise."""
        return int(bool(self.code) or any(self.sections.values()))

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "first": {"sweep": self.first.sweep, "run": self.first.run, "state": self.first.state.value},
            "second": {"sweep": self.second.sweep, "run": self.second.run, "state": self.second.state.value},
            "equal": not self.exit_code,
            **{name: [asdict(change) for change in changes] for name, changes in self.sections.items()},
            "code": [asdict(change) for change in self.code],
            "unknown": list(self.unknown),
        }


def diff_runs(ledger: Ledger, first: Selector, second: Selector) -> RunDifference:
    """Compare two runs.

    :raises NotFoundError: a sweep or run is not there
    :raises UsageError: a selector does not name one run
    """
    one, other = _evidence(ledger, first), _evidence(ledger, second)
    before, after = one.runs[0], other.runs[0]
    unknown: list[str] = []
    configs = [leaves(ledger.config(run.sweep, run.run)) for run in (before, after)]
    sections = {
        "configuration": _changes(*configs),
        "seed": _changes({"seed": before.seed}, {"seed": after.seed}),
        "environment": _environments(one, other, unknown),
        "inputs": _changes(*({fact.path: fact.digest for fact in inputs_of(e, e.runs[0])} for e in (one, other))),
        "result": _changes(*(_outcome(run) for run in (before, after))),
        "metrics": _changes(*(leaves(_metrics(run)) for run in (before, after))),
    }
    return RunDifference(
        first=before, second=after, sections=sections, code=_code(one, other, unknown), unknown=unknown
    )


def _evidence(ledger: Ledger, selector: Selector) -> Evidence:
    sweep = ledger.sweep(selector.sweep).sweep
    runs = select_runs(ledger, sweep.id, selector, limit=2)
    if len(runs) != 1:
        raise UsageError(f"diff compares two single runs: name each, such as {one_of(sweep.id, runs)}")
    return gather(ledger, sweep, runs, find_place(ledger, sweep))


def _outcome(run: Run) -> dict[str, Any]:
    return {"state": run.state.value, **leaves(run.result, "result")}


def _metrics(run: Run) -> dict[str, Any]:
    return {name: dict(metric) for name, metric in run.metrics.items()}


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A value as dotted keys, as overrides are written."""
    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= leaves(item, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {prefix: value} if prefix else {}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    names = dict.fromkeys((*before, *after))
    return [
        Change(what=name, before=before.get(name), after=after.get(name))
        for name in names
        if name not in before or name not in after or not same(before[name], after[name])
    ]


def _environments(one: Evidence, other: Evidence, unknown: list[str]) -> list[Change]:
    found = [_environment(evidence, unknown) for evidence in (one, other)]
    if found[0] is None or found[1] is None:
        return []
    return [
        Change(what=change.what, before=change.before, after=change.after)
        for change in differences(found[0], found[1])
    ]


def _environment(evidence: Evidence, unknown: list[str]) -> Environment | None:
    """The environment that a run was submitted in."""
    run = evidence.runs[0]
    frozen = evidence.environment(run)
    found = None if frozen is None else evidence.read_environment(frozen)
    if found is None:
        unknown.append(f"no readable environment is on record for {run.sweep}/{run.run}")
    return found


def _code(one: Evidence, other: Evidence, unknown: list[str]) -> list[FileChange]:
    digests = [code.digest if (code := evidence.code(evidence.runs[0])) else None for evidence in (one, other)]
    if digests[0] is not None and digests[0] == digests[1]:
        return []
    contents = [_contents(evidence, unknown) for evidence in (one, other)]
    if contents[0] is None or contents[1] is None:
        return []
    return list(_file_changes(contents[0], contents[1]))


def _contents(evidence: Evidence, unknown: list[str]) -> dict[str, tuple[Kind, bytes]] | None:
    """The files of the snapshot that a run imported from, each compared with its digest."""
    run = evidence.runs[0]
    code = evidence.code(run)
    if code is None:
        unknown.append(f"no snapshot of the code of {run.sweep}/{run.run} is on record")
        return None
    archive = Path(code.archive) if evidence.place is None else evidence.place.archive(code)
    try:
        return {
            entry.path: (entry.kind, content if entry.target is None else f"{entry.target}\n".encode())
            for entry, content in open_archive(archive, code.digest).contents()
        }
    except HpcorchError as error:
        unknown.append(str(error))
        return None


def _file_changes(
    before: Mapping[str, tuple[Kind, bytes]], after: Mapping[str, tuple[Kind, bytes]]
) -> Iterator[FileChange]:
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        yield FileChange(path=path, change=change, text=_unified(path, old, new))


def _unified(path: str, old: tuple[Kind, bytes] | None, new: tuple[Kind, bytes] | None) -> str | None:
    """The difference as git writes it; None if one of the files is not text."""
    try:
        texts = [(side[1] if side else b"").decode("utf-8") for side in (old, new)]
    except UnicodeDecodeError:
        return None
    if any("\0" in text for text in texts):
        return None
    name = printable(path)
    head = [f"diff --git a/{name} b/{name}\n"]
    if old is None or new is None:
        side, word = (new, "new") if old is None else (old, "deleted")
        head.append(f"{word} file mode {_MODES[side[0]]}\n" if side is not None else "")
    elif old[0] is not new[0]:
        head.append(f"old mode {_MODES[old[0]]}\nnew mode {_MODES[new[0]]}\n")
    lines = difflib.unified_diff(
        texts[0].splitlines(keepends=True),
        texts[1].splitlines(keepends=True),
        f"a/{name}" if old is not None else "/dev/null",
        f"b/{name}" if new is not None else "/dev/null",
        n=_CONTEXT_LINES,
    )
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join([*head, *ended])
