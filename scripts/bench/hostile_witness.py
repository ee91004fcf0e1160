"""What the victim's commands did after an attack, and what they must not have done. Used by hostile.py."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hostile_stage import ATTACKER, COMMAND_LIMIT_S, ORDINARY, SECRET, VICTIM, Said, Stage

CODES = {0, 1, 2, 3, 75}
_READ = 1 << 20
_CONTROLS = {*range(32), 127, *range(128, 160)} - {ord("\n"), ord("\t")}


class Witness:
    """What was so before an attack's commands, and is compared after them."""

    def __init__(self, stage: Stage, before: dict[str, Any]) -> None:
        self._stage = stage
        self._before = before
        self._theirs = _owned_by(stage.scratch, ATTACKER)
        self._entries = set(self._entries_of_folders())

    def violations(self) -> list[str]:
        """Let the victim do all commands, and say what should not have happened."""
        stage = self._stage
        commands = [*stage.commands, *([("retry", "last")] if stage.retries else [])]
        said = [stage.hpcorch(*words) for words in commands]
        found = [f"{' '.join(one.words)}: {problem}" for one in said for problem in problems_of(one)]
        if (stage.marker / str(VICTIM)).exists():
            found.append("the attacker's code was executed as the victim")
        found += [f"was written for the victim: {path}" for path in self._changed()]
        found += [f"the secret is in {path}" for path in _with_secret(stage)]
        if not stage.was_rewritten and stage.cwd == stage.project:
            found += self._differences(said)
        if stage.is_lost:
            found += self._not_adopted()
        return found

    def _changed(self) -> list[str]:
        """Files of the attacker's that are others now, and new ones of the victim's in the attacker's folders."""
        after = _owned_by(self._stage.scratch, ATTACKER)
        changed = [path for path, form in after.items() if self._theirs.get(path, form) != form]
        new = [path for path in self._entries_of_folders() if path not in self._entries]
        return sorted(str(path) for path in (*changed, *(one for one in new if one.lstat().st_uid == VICTIM)))

    def _entries_of_folders(self) -> Iterator[Path]:
        for path in self._theirs:
            if path.is_dir() and not path.is_symlink():
                yield from path.iterdir()

    def _differences(self, said: Sequence[Said]) -> list[str]:
        """States and results that commands show, and that are not as before, unless audit says so."""
        if any(one.words[1] == "audit" and one.code == 1 for one in said):
            return []
        now = answers(said)
        return [
            f"{name} shows {now[name]} in place of {self._before[name]}"
            for name in now
            if now[name] not in (None, self._before[name])
        ]

    def _not_adopted(self) -> list[str]:
        stage = self._stage
        if stage.ledger.exists() or stage.ledger.is_symlink():
            stage.ledger.rename(stage.ledger.with_name("set-aside"))
        adopted = stage.hpcorch("ledger", "adopt")
        if adopted.code != 0:
            return [f"ledger adopt: {adopted.code} {adopted.err}"]
        now = answers([stage.hpcorch(*words) for words in ORDINARY[:4]])
        return [] if now == self._before else [f"after ledger adopt: {now} in place of {self._before}"]


def problems_of(said: Said) -> list[str]:
    """What no command of the victim's may do, whatever it meets."""
    found = []
    if said.code is None:
        found.append(f"was not over after {COMMAND_LIMIT_S} s")
    elif said.code not in CODES:
        found.append(f"exit code {said.code}: {said.err[-300:]}")
    if any(line.startswith("Traceback (most") for line in said.err.splitlines()):
        found.append(f"a traceback: {said.err[-600:]}")
    text = said.out + said.err
    if SECRET.decode() in text or hashlib.sha256(SECRET).hexdigest() in text:
        found.append("tells of the secret")
    if controls := sorted({ord(letter) for letter in text} & _CONTROLS):
        found.append(f"prints control characters: {controls}")
    if "--csv" in said.words:
        rows = csv.reader(io.StringIO(said.out, newline=""))
        found += [f"a formula: {cell!r}" for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    return found


def answers(said: Sequence[Said]) -> dict[str, Any]:
    """What commands told of the sweep and its runs; None where they told nothing."""
    told: dict[str, Any] = {}
    for one in said:
        name, rows = one.words[1], None
        if "--json" in one.words and one.out.strip():
            form = json.loads(one.out)
            rows = [_lasting(row) for row in (form if isinstance(form, list) else [form])] or None
            told[name] = rows
    return told


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    """Of what JSON says of a sweep or a run: what no command may change."""
    lasting = ("sweep", "name", "state", "counts", "index", "run", "params", "seed", "result", "exit_code")
    return {key: row[key] for key in lasting if key in row}


def _owned_by(folder: Path, uid: int) -> dict[Path, tuple[int, int, str]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if status.st_uid == uid:
            found[path] = (stat.S_IFMT(status.st_mode), status.st_size, _digest(path) if path.is_file() else "")
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "" if path.is_symlink() else hashlib.sha256(file.read(_READ)).hexdigest()


def _with_secret(stage: Stage) -> list[str]:
    found = []
    for path in stage.scratch.rglob("*"):
        if path != stage.secret and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if SECRET in file.read(_READ):
                    found.append(str(path))
    return found
