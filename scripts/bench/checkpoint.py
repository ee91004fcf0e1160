#!/usr/bin/env python
"""What a checkpoint costs.

Saving: a state of the given size, as NumPy arrays and as tensors of PyTorch where that is installed, against a
plain write and fsync of the same bytes into a file of the same folder. That must lie on the file system in
question: a home directory and a scratch file system differ. Rounds are interleaved, and medians are shown.

Calls: one `log()` of many, and the example's training loop with a log a step and a save a second against the same
loop without the run's calls.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from run_calls import log_seconds, loop_seconds, slower

from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.run.generators import capture

GIB = 1 << 30
# As a model's state: a few large arrays rather than one.
ARRAYS = 8
PLAIN = "plain write + fsync"


def main() -> None:
    options = _parser().parse_args()
    size = int(options.size * GIB) // (ARRAYS * 8) * (ARRAYS * 8)
    with tempfile.TemporaryDirectory(prefix="bench-checkpoint-", dir=options.directory) as folder:
        seconds = {} if options.calls_only else _save_seconds(Path(folder), size, options.rounds)
        log = median(log_seconds(Path(folder) / f"log-{number}") for number in range(options.rounds))
        loop = loop_seconds(Path(folder), options.rounds)
    if options.json:
        print(_as_json(seconds, size, options, {"log_seconds": log, "loop_seconds": loop}))
        return
    if seconds:
        print(_as_table(seconds, size, options.rounds), end="\n\n")
    print(f"log(): {1e6 * log:.1f} microseconds of CPU a call, writing included")
    wall, own = slower(loop)
    print(
        f"training loop, a log a step and a save a second: {100 * wall:+.1f} % by the wall, {100 * own:+.1f} % CPU"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, help="GiB of a state (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="saves of each kind (%(default)s)")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (here)")
    parser.add_argument("--calls-only", action="store_true", help="leave out the saves")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _save_seconds(folder: Path, size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each save, by kind."""
    contenders = _contenders(folder, size)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, save in contenders.items():  # interleaved, so that a change of the disk's load meets all
            began = time.perf_counter()
            save()
            if number:  # the first round warms up: memory is touched, modules are imported
                seconds[name].append(time.perf_counter() - began)
            _clear(folder)
    return seconds


def _contenders(folder: Path, size: int) -> dict[str, Callable[[], None]]:
    import numpy as np

    generator = np.random.default_rng(0)
    arrays = [np.frombuffer(generator.bytes(size // ARRAYS), dtype=np.float64) for _ in range(ARRAYS)]
    contenders: dict[str, Callable[[], None]] = {
        PLAIN: lambda: _write_plainly(folder / "plain", arrays),
        "checkpoint of NumPy arrays": lambda: _save(folder, {"arrays": arrays}),
    }
    if find_spec("torch") is not None:
        import torch

        tensors = {str(number): torch.from_numpy(array.copy()) for number, array in enumerate(arrays)}
        contenders["checkpoint of PyTorch tensors"] = lambda: _save(folder, tensors)
    return contenders


def _write_plainly(path: Path, arrays: Sequence[Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for array in arrays:
        view = memoryview(array).cast("B")
        while view:
            view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)
    os.close(descriptor)


def _save(folder: Path, state: Mapping[str, Any]) -> None:
    store = CheckpointStore(folder, AttemptId(run=0, submission=0, restart=0))
    store.save(1, state, generators=capture({}), extras={}, keep=1)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    os.sync()  # what one save left in the page cache must not slow the next


def _as_table(seconds: Mapping[str, Sequence[float]], size: int, rounds: int) -> str:
    """A Markdown table; the ratio is that of the medians."""
    reference = median(seconds[PLAIN])
    lines = [
        f"| {size / GIB:g} GiB, median of {rounds} | s | MiB/s | ratio | fastest to slowest |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in seconds.items():
        middle = median(found)
        speed = size / (1 << 20) / middle
        span = f"{min(found):.2f}-{max(found):.2f}"
        lines.append(f"| {name} | {middle:.3f} | {speed:.0f} | {middle / reference:.2f} | {span} |")
    return "\n".join(lines)


def _as_json(
    seconds: Mapping[str, Sequence[float]], size: int, options: argparse.Namespace, calls: Mapping[str, Any]
) -> str:
    return json.dumps({"bytes": size, "rounds": options.rounds, "save_seconds": seconds, **calls}, indent=2)


if __name__ == "__main__":
    main()
