"""``hpcorch.submit``: submitting a batch script from a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fsdecode

from hpcorch.errors import SubmissionRejectedError, SubmissionUnknownError, UsageError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.user_scripts.own_flags import POOL_FLAG, RESOURCE_FLAG
from hpcorch.services.user_scripts.relay import Outcome
from hpcorch.services.user_scripts.sbatch import sbatch
from hpcorch.slurm import error_texts as failures
from hpcorch.slurm.sbatch.line import parse_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job that Slurm has accepted, and the sweep that records it.

    :param sweep: the sweep's id, a selector like any other
    :param job_id: the job's or array's id
    :param cluster: the cluster's name, if sbatch was told to choose one
    """

    sweep: str
    job_id: str
    cluster: str | None = None


def submit(
    script: str | PathLike[str] | None = None,
    *arguments: str | PathLike[str],
    text: str | None = None,
    flags: Sequence[str] = (),
    resources: Mapping[str, int] | None = None,
    pool: str | None = None,
) -> Submission:
    """Submit a batch script as ``hpcorch sbatch`` does.

    :param script: the script's file
    :param arguments: of the script
    :param text: the script itself, instead of a file
    :param flags: of sbatch, as on its command line: ``["--time=60", "--array=0-9"]``
    :param resources: how much each job or array element takes of resources of the site profile
    :param pool: a pool of the site profile
    :raises UsageError: the arguments are not text or contradict each other, or the site profile does not have
        the resource or pool
    :raises PolicyError: the site profile forbids it; the message has the numbers
    :raises SubmissionRejectedError: Slurm refused it; no job exists
    :raises SubmissionUnknownError: the job may exist; ``Ledger.refresh`` settles it
    :raises UnavailableError: Slurm does not answer, or it cannot be recorded; nothing was submitted
    """
    if (script is None) == (text is None):
        raise UsageError("give submit() either the file of a script or its text")
    if text is not None and arguments:
        raise UsageError("a script that is given as text takes no arguments: write them into it")
    named = [] if script is None else _words("the script", [script])
    asked, given = _words("each flag", _several(flags)), _words("each argument", arguments)
    ours = [f"{RESOURCE_FLAG}={name}={count}" for name, count in (resources or {}).items()]
    if pool is not None:
        ours.append(f"{POOL_FLAG}={pool}")
    outcome = sbatch(
        [*ours, *asked, *named, *given],
        tell=lambda _line: None,
        read_script=lambda: (text or "").encode("utf-8", "surrogateescape"),
        shows_errors=False,
    )
    if outcome.job_id is None or outcome.sweep is None:
        raise _why_not(outcome, asked)
    return Submission(sweep=outcome.sweep, job_id=outcome.job_id, cluster=outcome.cluster)


def _several(flags: Sequence[str]) -> Sequence[str]:
    if isinstance(flags, (str, bytes)):
        raise UsageError(f"flags of submit() are a list of texts: write flags=[{flags!r}]")
    return flags


def _words(what: str, values: Sequence[str | PathLike[str]]) -> list[str]:
    """What a command line has of these."""
    for value in values:
        if not isinstance(value, (str, PathLike)):
            raise UsageError(
                f"{what} of submit() is a text or a path, and {value!r} is of type {type(value).__name__}: write"
                f" {str(value)!r}"
            )
    return [fsdecode(value) for value in values]


def _why_not(outcome: Outcome, flags: Sequence[str]) -> Exception:
    if outcome.sweep is not None:
        return SubmissionUnknownError(" ".join([*outcome.notices, outcome.errors.strip()]))
    if outcome.exit_code == 0:
        return UsageError(f"with {' '.join(flags)} sbatch submits nothing: leave that flag out")
    failure = failures.explain(outcome.errors, parse_line(flags).values)
    if failure.meaning is failures.Meaning.UNKNOWN:
        return SubmissionRejectedError(f"sbatch refused the script: {outcome.errors.strip()}")
    return failure.error()
