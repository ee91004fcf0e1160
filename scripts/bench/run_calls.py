"""What the calls of a run cost its training loop. Used by checkpoint.py."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import SignalOwner
from hpcorch.runtime.run.active import ActiveRun
from hpcorch.runtime.run.run import Run, as_current

TRAIN = Path(__file__).parents[1] / "train.py"
CALLS = re.compile(r"^ +run\.(?:log|checkpoint)\(.*\)\n", re.MULTILINE)
LOGS = 50_000
EPOCHS = 300  # some seconds, so that there are several saves
LOSS = 0.123456789


def log_seconds(folder: Path) -> float:
    """Seconds of one call of ``log()`` among many, with the writing of what was logged.

    Of the process' own time: on a busy machine the clock on the wall tells of others.
    """
    with _run(folder) as (run, active):
        began = time.process_time()
        for step in range(LOGS):
            run.log(step, loss=LOSS)
        active.close()
        return (time.process_time() - began) / LOGS


def loop_seconds(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the example's training: without the run's calls, and with a log a step and a save a second.

    :return: on the wall, waiting for the disk included, and of the process' own time
    """
    source = TRAIN.read_text()
    loops = {"without": _example("plain", CALLS.sub("", source)), "with": _example("checkpointing", source)}
    assert CALLS.search(source), "the example's calls are written otherwise"
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        # Interleaved, and each of the two goes first as often: the machine's load meets both alike.
        for name in sorted(loops, reverse=bool(number % 2)):
            with _run(folder / f"{name}-{number}") as (run, _), as_current(run):
                taken = _train(loops[name])
            if number:  # the first round warms up
                seconds[name].append(taken)
    return seconds


def slower(seconds: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """By which fraction the loop with the calls is slower, by either clock: the median over the rounds."""
    pairs = list(zip(seconds["with"], seconds["without"], strict=True))
    wall, own = (
        median(with_calls[clock] / without[clock] for with_calls, without in pairs) - 1 for clock in (0, 1)
    )
    return wall, own


def _example(name: str, source: str) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)  # where dataclasses and pickle look for its classes
    module.__file__ = str(TRAIN)
    exec(compile(source, TRAIN, "exec", dont_inherit=True), vars(module))
    return module


def _train(example: Any) -> tuple[float, float]:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(TRAIN.parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", [f"epochs={EPOCHS}", f"checkpoint_minutes={1 / 60}"])
    state = example.initial_state(cfg.model.hidden, cfg.seed)
    train: Callable[[Any, Any], float] = example.train
    began, own = time.perf_counter(), time.process_time()
    train(state, cfg)
    return time.perf_counter() - began, time.process_time() - own


@contextmanager
def _run(folder: Path) -> Iterator[tuple[Run, ActiveRun]]:
    """A run as the runtime makes it for a task, in this process."""
    layout = SweepLayout(folder)
    layout.journals.mkdir(parents=True)
    attempt = AttemptId(run=0, submission=0, restart=0)
    place = Place(layout=layout, launch=0, attempt=attempt, host="localhost", array_task=0)
    header = ManifestHeader(
        sweep="bench",
        launch=0,
        count=1,
        backend="local",
        job_name="bench",
        project=str(folder),
        cwd=str(folder),
        python=sys.executable,
        task_digest="",
    )
    with JournalWriter.create(layout.journal(attempt)) as journal:
        active = ActiveRun(place, header, SignalOwner(), journal)
        yield Run(os.environ, active), active
