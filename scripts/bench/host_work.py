"""What a host does in hosts.py: ``host_work.py work NAME FOLDER``, and ``host_work.py judge FOLDER`` in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

from synthetic import control, journals, segment

from hpcorch.errors import HpcorchError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.model.events import ControlRequested

RUNS = 10  # of a sweep that is stored
LAUNCH_EACH = 24  # turns; in an emulated guest one takes a minute


def work(name: str, folder: Path) -> None:
    """Turn after turn until killed; a line for each thing that is done for good."""

    turn = 0
    while True:
        turn += 1
        try:
            _turn(f"{name}-{time.time_ns()}", folder, launches=turn % LAUNCH_EACH == 0)
        except (HpcorchError, OSError) as error:
            _say("failed", str(error).replace("\n", " "))
            time.sleep(0.5)


def _turn(sweep: str, folder: Path, *, launches: bool) -> None:

    path = folder / ".hpcorch" / "ledger.db"
    layout = SweepLayout(folder / sweep)
    segments = [segment(sweep, "control", control(layout, sweep, 0, RUNS), 0), *journals(sweep, range(RUNS))]
    ledger = Ledger.open(path, write=True, create=True)
    ledger.ingest(sweep, segments, manifests_in(layout))
    _say("stored", sweep)
    shutil.rmtree(layout.directory)
    shared = ControlJournal(SweepLayout(folder / "shared"), "shared")
    note = ControlRequested(submission=0, action="hold", runs="0", user=sweep, uid=os.getuid(), host=sweep[0])
    shared.append(note, durable=True)
    _say("noted", sweep)
    if sweep not in {summary.sweep.id for summary in Ledger.open(path).sweeps()}:
        _say("missed", sweep)
    if launches:
        _launch(folder, sweep)


def _launch(folder: Path, sweep: str) -> None:
    """A sweep of two runs, of which one fails at first, and a retry of it."""
    directory = folder / "launched" / sweep
    argv = ["program.py", "-m", "hydra/launcher=hpcorch_local", f"hydra.sweep.dir={directory}", "+x=1,2"]
    _, said = _executed(folder, [sys.executable, *argv])
    made = owner(SweepLayout(directory))
    if made is None:
        _say("failed", said)
        return
    _say("begun", made)
    code, said = _executed(folder, [str(Path(sys.executable).with_name("hpcorch")), "retry", made])
    if code == 0:
        _say("launched", made)
    else:
        _say("failed", said)


def _executed(folder: Path, command: list[str]) -> tuple[int, str]:
    """The exit code of a command and the end of what it says.

    In an emulated guest it takes a minute, but each new number of the ledger's lock shows that it goes on.
    """
    with TemporaryFile("w+") as output:
        program = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        seen = ""
        while program.poll() is None:
            time.sleep(1)
            suffixes = (path.suffix[1:] for path in (folder / ".hpcorch").glob("ledger.db.lock.*"))
            highest = max((suffix for suffix in suffixes if suffix.isdigit()), key=int, default="")
            if highest != seen:
                seen = highest
                _say("works", seen)
        output.seek(0)
        return program.returncode, output.read().strip().replace("\n", " ")[-300:]


def _say(kind: str, text: str) -> None:
    print(kind, text, flush=True)


def judge(folder: Path) -> None:
    """Print what is on record in the end, as JSON."""

    ledger = Ledger.open(folder / ".hpcorch" / "ledger.db")
    counts = {one.sweep.id: {state.value: n for state, n in one.counts.items()} for one in ledger.sweeps()}
    shared = ControlJournal(SweepLayout(folder / "shared"), "shared")
    with shared.locked():  # without, a file system that caches may show it as it was a while ago
        noted = [request.user for request in shared.history().requests]
    findings = [finding.text for finding in ledger.check(deep=True)]
    print(json.dumps({"sweeps": counts, "noted": noted, "findings": findings}))


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], Path(sys.argv[3]))
    judge(Path(sys.argv[2]))
