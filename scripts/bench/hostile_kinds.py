"""The kinds of attacks by files that belong to the attacker. Used by hostile.py.

Where an attack needs a right that the attacker does not have, such as to write in the victim's folder, root lends
it: it is what a mode that was too wide, or a shared folder, would have allowed.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import hostile_group_kinds  # noqa: F401 - lists its kinds
import hostile_journal_kinds  # noqa: F401 - lists its kinds
from hostile_plants import PLANTS, plant
from hostile_record_kinds import alter
from hostile_registry import KINDS, Kind, add, kind
from hostile_stage import ATTACKER, ORDINARY, VICTIM, Stage

from hpcorch.journal.lines import seal, unseal

__all__ = ["KINDS", "Kind"]


COLLECT = """\
import sys
from hpcorch import collect, errors
try:
    collect("last")
except errors.HpcorchError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


class Payload:
    """An object that executes something where it is unpickled."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (self._code,)


def pending(stage: Stage, sweep: str | None = None) -> str:
    """The runs of the attacker's sweep wait to be submitted, and its record says that it is the victim's."""
    control = stage.their_sweep / ".hpcorch" / "control.jsonl"
    records = [unseal(line) for line in control.read_bytes().splitlines()[:4]]
    records[0] |= {"user": str(VICTIM), "sweep": sweep or records[0]["sweep"]}
    control.write_bytes(b"".join(seal(record) for record in records))
    shutil.rmtree(control.parent / "journal")
    stage.give(control)
    (stage.theirs / ".hpcorch" / "ledger.db").unlink()
    stage.hpcorch("ledger", "adopt", uid=ATTACKER, cwd=stage.theirs)
    return str(records[0]["sweep"])


def acting_on(sweep: str) -> list[tuple[str, ...]]:
    """What would execute a sweep's code."""
    return [
        ("status", sweep, "--refresh"),
        ("tend", sweep),
        ("retry", sweep),
        ("logs", f"{sweep}/0"),
        ("audit", sweep),
    ]


def open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


@kind
def foreign_ledger_above(stage: Stage, choose: random.Random) -> str:
    sweep = pending(stage)
    (stage.theirs / ".hpcorch").rename(stage.scratch / ".hpcorch")
    open_to_all(stage.scratch / ".hpcorch")
    stage.cwd = stage.scratch / "new" / choose.choice(["a", "a/b/c"])
    stage.cwd.mkdir(parents=True)
    stage.give(stage.scratch / "new", uid=VICTIM)
    stage.commands += [*acting_on(sweep), ("exec", "--", "true"), ("ls",)]
    return str(stage.cwd.relative_to(stage.scratch))


@kind
def foreign_ledger_named(stage: Stage, choose: random.Random) -> str:
    sweep = pending(stage)
    ledger = stage.theirs / ".hpcorch" / "ledger.db"
    ledger.parent.chmod(0o755)
    ledger.chmod(mode := choose.choice([0o644, 0o600]))
    stage.cwd = stage.home(VICTIM)
    stage.commands = [("--ledger", str(ledger), *words) for words in (*ORDINARY, *acting_on(sweep))]
    return f"mode {mode:o}"


@kind
def foreign_file_or_folder_in_ones_own(stage: Stage, choose: random.Random) -> str:
    state = stage.project / ".hpcorch"
    taken = choose.choice([state, stage.ledger, state / "snapshots", state / "inbox", stage.project, stage.record])
    os.chown(taken, ATTACKER, ATTACKER)
    if taken.is_dir():
        open_to_all(taken)
    stage.commands += [("exec", "--", "true")]
    stage.retries = True
    return str(taken.relative_to(stage.scratch))


@kind
def foreign_site_profile(stage: Stage, choose: random.Random) -> str:
    folder = choose.choice([stage.scratch, stage.project]) / ".hpcorch"
    folder.mkdir(exist_ok=True)
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
    texts = {
        "pool": "pools:\n  default:\n    partition: theirs\n",
        "bomb": bomb,
        "object": f"!!python/object/apply:os.system ['touch {stage.marker}/{VICTIM}']\n",
        "nested": "[" * 100_000,
        "binary": "\0\ud7ff\n" * 5000,
    }
    (folder / "site.yaml").write_text(texts[drawn := choose.choice(sorted(texts))])
    stage.give(folder / "site.yaml")
    if folder.parent == stage.scratch:
        stage.give(folder)
    stage.commands += [("resources",)]
    stage.retries = True
    return f"{drawn} in {folder.relative_to(stage.scratch)}"


@kind
def foreign_sweep_announced(stage: Stage, choose: random.Random) -> str:
    sweep = pending(stage)
    announced = stage.project / ".hpcorch" / "inbox" / sweep
    announced.write_text(str(stage.their_sweep))
    if is_foreign := choose.random() < 0.5:
        stage.give(announced)
    stage.commands = [("tend",), *stage.commands[1:], *acting_on(sweep), ("ledger", "adopt", str(stage.theirs))]
    stage.was_rewritten = True  # ``last`` may be the other one
    return "by a file of the attacker's" if is_foreign else "by a file of the victim's"


@kind
def foreign_sweep_directory_in_ones_own_ledger(stage: Stage, choose: random.Random) -> str:
    sweep = unseal((stage.record / "control.jsonl").read_bytes().splitlines()[0])["sweep"]
    pending(stage, sweep)
    statement = f"UPDATE sweeps SET directory = '{stage.their_sweep}', user = '{VICTIM}';"
    if is_event := choose.random() < 0.5:
        replaced = f"replace(body, '{stage.sweep}', '{stage.their_sweep}')"
        statement += f"UPDATE events SET body = {replaced} WHERE kind = 'sweep-created';"
    if are_open := choose.random() < 0.5:
        statement += "UPDATE runs SET state = 'PLANNED'; UPDATE sweeps SET state = 'PLANNED';"
    alter(stage, statement)
    stage.commands += acting_on(sweep)
    stage.retries = True
    return f"event altered: {is_event}, runs open: {are_open}"


@kind
def foreign_task_or_manifest(stage: Stage, choose: random.Random) -> str:
    launch = stage.record / "launch-000000"
    theirs = stage.their_sweep / ".hpcorch" / "launch-000000"
    taken = choose.choice(["task.pkl", "manifest.jsonl", "environment.json", ""])
    for path in [launch / taken] if taken else list(launch.iterdir()):
        if path.name == "task.pkl":
            path.write_bytes(pickle.dumps(Payload(stage.payload)))
        elif path.name == "environment.json":
            path.write_text(json.dumps(dict.fromkeys(("PYTHONPATH", "PATH", "HOME"), str(theirs.parent))))
        else:
            path.write_bytes((theirs / path.name).read_bytes())
    if is_foreign := choose.random() < 0.7:
        stage.give(launch / taken if taken else launch)
    stage.retries = True
    return f"{taken or 'all'}, {'the attacker' if is_foreign else 'the victim'}'s"


@kind
def foreign_object_or_checkpoint(stage: Stage, choose: random.Random) -> str:
    found = [*(stage.record / "results").glob("*"), *(stage.record / "checkpoints").glob("*/*.ckpt")]
    path = choose.choice(sorted(found))
    path.write_bytes(pickle.dumps(Payload(stage.payload)))
    stage.give(path)
    stage.commands += [("python", "-c", COLLECT)]
    stage.retries = True
    return str(path.relative_to(stage.record))


def places(stage: Stage) -> Sequence[Path]:
    """Files of the victim's that commands read, and those that they would read if they were there."""
    state, record, home = stage.project / ".hpcorch", stage.record, stage.home(VICTIM)
    there = [path for folder in (state, record) for path in folder.rglob("*") if path.is_file()]
    would_be = [
        state / "site.yaml",
        state / f"digests-{VICTIM}.json",
        state / "inbox" / "20260101-000000-aaaa",
        record / "tend.dirty",
        record / "asked" / "2.s0",
        record / "submissions" / "s0-abcdef.sbatch",
        record / "journal" / "7.s0.r0.jsonl",
        home / ".config" / "hpcorch" / "shared-projects.json",
        home / ".config" / "hpcorch" / "site.yaml",
    ]
    return sorted({*there, *would_be})


def planted(form: str, stage: Stage, choose: random.Random) -> str:
    """One of PLANTS where a file is read."""
    path = choose.choice(places(stage))
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    stage.give(*missing, uid=VICTIM)
    plant(stage, path, form)
    stage.commands += [("export", "bundle", "last", str(stage.scratch / "tmp" / "bundle"))]
    stage.retries = choose.random() < 0.3
    return str(path.relative_to(stage.scratch))


for _form in PLANTS:
    add(f"{_form}-for-a-file", partial(planted, _form))


@kind
def bundle_with_something_else(stage: Stage, choose: random.Random) -> str:
    bundle = stage.home(ATTACKER).parent / "bundle"
    exported = stage.hpcorch("export", "bundle", "last", str(bundle), uid=ATTACKER, cwd=stage.theirs)
    if exported.code != 0:
        raise RuntimeError(exported.err)
    path = choose.choice(sorted(one for one in bundle.rglob("*") if one.is_file()))
    form = choose.choice([*PLANTS, "sum-of-a-file-outside", "parent-link"])
    if form == "sum-of-a-file-outside":
        with (bundle / "SHA256SUMS").open("a") as sums:
            sums.write(f"{'0' * 64}  ../{stage.secret.relative_to(stage.scratch)}\n")
    elif form == "parent-link":
        shutil.rmtree(folder := path.parent if path.parent != bundle else bundle / "code")
        folder.symlink_to(stage.home(VICTIM))
    else:
        plant(stage, path, form)
    stage.give(bundle)
    open_bundle = [path for path in (bundle, *bundle.rglob("*")) if not path.is_symlink()]
    for one in open_bundle:
        one.chmod(0o755 if one.is_dir() else 0o644)
    stage.commands = [("audit", "--bundle", str(bundle)), ("reproduce", "--bundle", str(bundle), "last/0", "again")]
    return f"{form} for {path.relative_to(bundle)}"
