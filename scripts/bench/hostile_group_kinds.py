"""The kinds of attacks by a member of the group that shares the project. Used by hostile_kinds.py.

The attacker is no more than a member here: all is done with the rights that members have.
"""

from __future__ import annotations

import random

from hostile_record_kinds import STATEMENTS, alter
from hostile_registry import kind
from hostile_stage import ATTACKER, GROUP, ORDINARY, VICTIM, Stage

REPLACE = """\
import os, pathlib, sys
path, text = pathlib.Path(sys.argv[1]), sys.argv[2]
path.unlink(missing_ok=True)
path.mkdir() if text == "folder" else os.mkfifo(path) if text == "fifo" else path.write_text(text)
"""


def share(stage: Stage) -> None:
    """The victim shares the project, and the attacker joins."""
    for uid in (VICTIM, ATTACKER):
        said = stage.hpcorch("init", "--group", str(GROUP), uid=uid, cwd=stage.project)
        if said.code not in (0, 3):
            raise RuntimeError(said.err)


def as_member(stage: Stage, code: str, *words: str) -> None:
    stage.run(ATTACKER, ("python", "-c", code, *words), stage.project)


@kind
def member_alters_the_ledger(stage: Stage, choose: random.Random) -> str:
    share(stage)
    alter(stage, statement := choose.choice(STATEMENTS), ATTACKER)
    stage.retries = True
    return statement


@kind
def member_replaces_files(stage: Stage, choose: random.Random) -> str:
    share(stage)
    state = stage.project / ".hpcorch"
    snapshot = next((state / "snapshots").iterdir())
    path = choose.choice(
        [snapshot, stage.ledger, state / "site.yaml", state / "inbox" / "x", state / "ledger.db.lock.99999"]
    )
    text = choose.choice(["folder", "fifo", "text", "pools: [", str(stage.their_sweep)])
    as_member(stage, REPLACE, str(path), text)
    stage.retries = True
    return f"{text.rpartition('/')[2]} for {path.relative_to(state)}"


@kind
def member_says_that_a_sweep_is_the_victims(stage: Stage, choose: random.Random) -> str:
    share(stage)
    (stage.project / "theirs.py").write_text((stage.theirs / "app.py").read_text())
    launch = (
        "python",
        "theirs.py",
        "-m",
        "hydra/launcher=hpcorch_local",
        "+seed=3",
        "hydra.sweep.dir=multirun/theirs",
    )
    stage.run(ATTACKER, launch, stage.project)
    state = choose.choice(["PLANNED", "FAILED", "SUBMITTED"])
    change = f"UPDATE sweeps SET user = '{VICTIM}', state = '{state}' WHERE directory LIKE '%theirs'; "
    alter(stage, change + f"UPDATE runs SET state = '{state}' WHERE sweep = 2", ATTACKER)
    listed = stage.hpcorch("ls", "--quiet").out.split()
    stage.commands = [
        *ORDINARY,
        *[(word, sweep) for sweep in listed for word in ("tend", "retry", "status", "audit", "collect")],
    ]
    stage.was_rewritten = True
    return state
