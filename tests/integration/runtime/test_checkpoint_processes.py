"""Checkpoints from one process to the next: classes of the user's program, and what is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from dataclasses import dataclass
from enum import Enum

calls = []

@dataclass
class Progress:
    epoch: int

    def remember(self):
        calls.append(self.epoch)
        return self

class Phase(Enum):
    WARMUP = 1

    def __str__(self):
        return "phase"

def task(work):
    return work(Progress, Phase, calls)

if __name__ == "__main__":
    from pathlib import Path
    from hpcorch.runtime.program.task_file import Task, dump_task
    sent = Task(function=task, hydra_context=None, singletons={}, invocation=None, problem="it is a test")
    Path(sys.argv[1]).write_bytes(dump_task(sent))
"""

JOB = """
import sys
from pathlib import Path
from hpcorch.model.values import digest
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.program.task_file import load_function, read_task

restart, file, folder = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
store = CheckpointStore(folder, AttemptId(run=0, submission=0, restart=restart))

def work(Progress, Phase, calls):
    restored, _ = store.newest()
    state = {"progress": Progress(0), "phase": Phase.WARMUP}
    if restored is not None:
        state = restored.state
        assert type(state["progress"]) is Progress, "another class"
        assert state["phase"] is Phase.WARMUP, "another enumeration"
        state["progress"].remember()
        assert calls == [restart - 1], "the class's method has the variables of another module"
    state["progress"].epoch = restart
    store.save(restart, state, generators={}, extras={}, keep=1)

load_function(read_task(file, digest(file.read_bytes())))(work)
"""

NO_IMPORTS = """
import sys
from pathlib import Path
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.run.generators import capture, restore

store = CheckpointStore(Path(sys.argv[1]), AttemptId(run=0, submission=0, restart=0))
store.save(1, {"weights": [1.5]}, generators=capture({}), extras={}, keep=1)
restored, _ = store.newest()
restore(restored.generators, {})
print([name for name in ("numpy", "torch") if name in sys.modules])
"""


def test_class_of_the_users_script_is_the_tasks_own_class_after_restoring(tmp_path: Path) -> None:
    program, task = tmp_path / "train.py", tmp_path / "task.pkl"
    program.write_text(PROGRAM)
    subprocess.run([sys.executable, program, task], check=True)
    for restart in range(3):
        subprocess.run([sys.executable, "-c", JOB, str(restart), task, tmp_path / "c"], check=True)


def test_class_that_the_next_process_does_not_know_is_made_anew(tmp_path: Path) -> None:
    save = """
import sys
from enum import Enum
from hpcorch.runtime.checkpoint.pickling import dump

class Colour(Enum):
    '''Seen by eyes.'''
    RED = 1
    def __str__(self):
        return f"very {self.name}"

with open(sys.argv[1], "wb") as file:
    dump([Colour.RED, Colour], file)
"""
    load = """
import sys
from hpcorch.runtime.checkpoint.pickling import load

with open(sys.argv[1], "rb") as file:
    red, Colour = load(file)
assert red is Colour.RED
assert str(red) == "very RED"
assert Colour.__doc__ == "Seen by eyes."
"""
    for program in (save, load):
        subprocess.run([sys.executable, "-c", program, tmp_path / "state"], check=True)


def test_saving_plain_objects_imports_neither_numpy_nor_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_IMPORTS, tmp_path / "c"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
