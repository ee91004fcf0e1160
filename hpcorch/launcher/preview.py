"""What a dry run shows: what would be submitted, what limits it, what it may use, and when it would start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcorch.errors import HpcorchError, SubmissionRejectedError
from hpcorch.model.ids import format_ranges
from hpcorch.model.value_text import counted
from hpcorch.resources.envelope import WorstCase
from hpcorch.resources.profile.profile import Profile
from hpcorch.services.submission.request import Request
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array that would be submitted, with its script. Numbers and tokens in it are not the real ones."""

    request: Request
    script: str


def preview(
    arrays: Sequence[Array],
    *,
    waiting: int,
    worst: WorstCase | None,
    caps: Mapping[str, int],
    profile: Profile,
    client: SlurmClient | None,
    environ: Mapping[str, str],
) -> str:
    """Text for people, every line of it a comment, and the scripts at its end.

    :param waiting: runs that would follow when Slurm takes them
    :param worst: what the sweep can take
    :param caps: what bounds how many runs are at work at once -> how many
    :param client: None where there is no Slurm
    """
    lines = [
        "dry run: nothing is submitted, nothing is recorded",
        *_submitted(arrays, waiting),
        *(_bounded(worst, caps) if worst is not None else ()),
        *(_taken(worst, profile) if worst is not None else ()),
        *_starts(arrays, client, environ),
    ]
    head = "".join(f"# {line}\n" for line in lines)
    return head + "".join(f"\n# the script of runs {_ranges(one)}:\n{one.script}" for one in arrays)


def _ranges(array: Array) -> str:
    return format_ranges(array.request.runs)


def _submitted(arrays: Sequence[Array], waiting: int) -> Iterator[str]:
    for one in arrays:
        own = ", ".join(f"{key}={value}" for key, value in one.request.changed.items())
        runs = counted(len(one.request.runs), "run")
        yield f"{runs} as one {_array(one.request)}: {_ranges(one)}{f' ({own})' if own else ''}"
    if waiting:
        more = counted(waiting, "more run")
        yield f"{more} would be submitted as Slurm accepts them, within your limit on submitted jobs"


def _array(request: Request) -> str:
    if request.tasks is None:
        return "array"
    parallel = request.keys.parallel_runs
    each = f" {parallel} at once" if parallel > 1 else " one by one"
    return f"packed array of {counted(request.tasks, 'task')}, which take runs{each}"


def _bounded(worst: WorstCase, caps: Mapping[str, int]) -> Iterator[str]:
    by = f", because of {worst.bound_by}" if worst.bound_by else ""
    yield f"at once: at most {worst.at_once} of {counted(worst.runs, 'run')}{by}"
    for name, count in sorted(caps.items(), key=lambda cap: cap[1]):
        yield f"  {name} lets {count} run at once"


def _taken(worst: WorstCase, profile: Profile) -> Iterator[str]:
    envelope, currency = profile.envelope, profile.prices.currency
    yield f"in the worst case, if every {worst.one} uses all of its time limit:"
    yield from (
        f"  {what}: {'no limit' if value is None else f'{value:g}'}{_of(limit)}"
        for what, value, limit in (
            ("runs", worst.runs, envelope.max_runs),
            *([] if worst.tasks is None else [("tasks", worst.tasks, None)]),
            (f"minutes a {worst.one}", worst.walltime_min, envelope.max_walltime_min),
            ("GPUs at once", worst.gpus, envelope.max_gpus),
            ("GPU-hours", worst.gpu_hours, envelope.max_gpu_hours),
            ("CPU-hours", worst.cpu_hours, None),
        )
    )
    if worst.cost:
        yield f"  {currency}: {worst.cost:g}{_of(profile.policies.max_cost)}"


def _of(limit: float | None) -> str:
    return "" if limit is None else f" of {limit:g} that the site profile allows"


def _starts(arrays: Sequence[Array], client: SlurmClient | None, environ: Mapping[str, str]) -> Iterator[str]:
    if client is None:
        yield "without Slurm here, the start time is unknown"
        return
    for one in arrays:
        yield f"runs {_ranges(one)}: {_start(one.script, client, environ)}"


def _start(script: str, client: SlurmClient, environ: Mapping[str, str]) -> str:
    try:
        expected = _expected(script, client, environ)
    except SubmissionRejectedError as error:
        return f"Slurm would refuse them: {error}"
    except HpcorchError as error:
        return f"Slurm did not say when the first would start: {error}"
    if expected is None:
        return "Slurm would accept them, but does not say when the first would start"
    return f"the first would start at {expected:%Y-%m-%d %H:%M:%S} if submitted now (sbatch --test-only)"


def _expected(script: str, client: SlurmClient, environ: Mapping[str, str]) -> datetime | None:
    with tempfile.TemporaryDirectory(prefix="hpcorch-") as folder:
        path = Path(folder) / "dry-run.sbatch"
        path.write_bytes(script.encode("utf-8", "surrogateescape"))
        return client.check(path, env=environ)
