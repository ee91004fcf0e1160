"""The client that talks to Slurm through its commands."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from hpcorch import process, tunables
from hpcorch.errors import HpcorchError, NotFoundError, SlurmUnavailableError, SubmissionUnknownError
from hpcorch.slurm import commands, error_texts
from hpcorch.slurm.answers import sacct, scontrol, squeue
from hpcorch.slurm.answers.scontrol import Partition, parse_partitions
from hpcorch.slurm.commands import Submitted, query_environment, submission_environment
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch.quoting import directives

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


_NOBODY_KNOWS = "it is not known whether the job was submitted; look for its token before trying again."
_UNKNOWN_ID = "Invalid job id specified"
# Answers of scontrol that leave nothing to be done: the job is over, or released and waiting for its partition.
_HARMLESS = ("No error", "Job has already finished", "Requested partition configuration not available now")
_SBATCH = "sbatch"
_WRAPPERS_SIZE = 4096  # a wrapper has few lines; of other programs this much is read
_CALL = re.compile(rb"^[^#\n]*\bhpcorch[\"']?[\s,]+[\"']?sbatch\b", re.MULTILINE)


class CliClient:
    """:class:`SlurmClient` by Slurm's commands, which every site has.

    :param environ: the environment of the commands and of what is submitted; this process's by default
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)

    def submit(self, script: Path, *, env: Mapping[str, str] | None = None, extra: Sequence[str] = ()) -> Submitted:
        asked = _asked(script)
        try:
            done = self._sbatch(commands.sbatch(str(script), extra), asked, env)
        except process.CommandTimeoutError as error:
            raise SubmissionUnknownError(f"{error}, so {_NOBODY_KNOWS}") from error
        if done.returncode > 0:
            raise error_texts.explain(done.stderr, asked).error()
        if done.returncode < 0:
            raise SubmissionUnknownError(f"sbatch was killed by signal {-done.returncode}, so {_NOBODY_KNOWS}")
        try:
            return commands.parse_submitted(done.stdout)
        except ValueError as error:
            raise SubmissionUnknownError(
                f"{error}; look for the submission's token before trying again."
            ) from error

    def check(
        self, script: Path, *, env: Mapping[str, str] | None = None, extra: Sequence[str] = ()
    ) -> datetime | None:
        asked = _asked(script)
        try:
            done = self._sbatch(commands.sbatch_test(str(script), extra), asked, env)
        except process.CommandTimeoutError as error:
            raise SlurmUnavailableError(f"Slurm could not be asked: {error}. Try again later.") from error
        if done.returncode != 0:
            failure = error_texts.explain(done.stderr, asked)
            if failure.meaning is not error_texts.Meaning.UNKNOWN:
                raise failure.error()
            _log.warning("sbatch --test-only gave no clear answer: %s", done.stderr.strip())
        return commands.parse_expected_start(done.stderr)

    def queue(self, job_ids: Iterable[str]) -> list[squeue.QueueRow]:
        ids = list(job_ids)
        if not ids:
            return []
        done = self._run(commands.squeue(ids))
        if done.returncode != 0 and _UNKNOWN_ID in done.stderr:
            return []  # squeue fails only if the one id it was asked for is unknown
        rows = squeue.parse(_answer(done))
        if not (merged := squeue.merged_arrays(rows)):
            return rows
        return squeue.with_own_reasons(rows, squeue.parse(_answer(self._run(commands.squeue_singly(merged)))))

    def accounting(self, job_ids: Iterable[str], since: datetime) -> list[sacct.AccountingRow] | None:
        ids = list(job_ids)
        if not self.config().accounting:
            return None
        if not ids:
            return []
        further = (commands.STEPS_CODE_FIELD, commands.COMMAND_LINE_FIELD)
        fields = (*commands.ACCOUNTING_FIELDS, *(field for field in further if field in self._sacct_fields))
        return sacct.parse(_answer(self._run(commands.sacct(ids, since, fields))), fields)

    def find_token(self, token: str, since: datetime) -> list[str]:
        listed = _answer(self._run(commands.squeue_tokens(os.getuid())))
        found = squeue.jobs_with_token(listed, token)
        if self.config().accounting:
            fields = [field for field in commands.TOKEN_FIELDS if field in self._sacct_fields]
            rows = _answer(self._run(commands.sacct_of_user(os.getuid(), since, fields)))
            found += sacct.jobs_with_token(rows, token)
        return sorted(set(found), key=int)

    def script(self, job_id: str) -> str:
        done = self._run(commands.scontrol_script(job_id))
        return done.stdout if done.returncode == 0 else ""

    def cancel(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            _answer(self._run(commands.scancel(job_ids)))

    def signal(self, job_ids: Sequence[str], name: str) -> None:
        if job_ids:
            done = self._run(commands.scancel_signal(name, job_ids))
            lines = done.stderr.splitlines()
            if not lines or any(_UNKNOWN_ID not in line for line in lines):
                _answer(done)

    def hold(self, job_ids: Sequence[str]) -> None:
        self._control("hold", job_ids)

    def release(self, job_ids: Sequence[str]) -> None:
        self._control("release", job_ids)

    def requeue(self, job_ids: Sequence[str]) -> None:
        self._control("requeue", job_ids)

    def update_throttle(self, job_id: str, tasks: int) -> None:
        if tasks < 1:
            raise ValueError(f"a throttle of {tasks} would mean no limit to Slurm; hold the array instead")
        _settle(self._run(commands.scontrol_throttle(job_id, tasks)))

    def licenses(self) -> list[scontrol.License]:
        return scontrol.parse_licenses(_answer(self._run(commands.scontrol_licenses())))

    def config(self) -> scontrol.ClusterConfig:
        return self._config

    def partitions(self) -> list[Partition]:
        return self._partitions

    def ask(self, argv: Sequence[str]) -> str:
        """The output of a command that only queries. For questions about the site that few callers have.

        :raises SlurmUnavailableError: it failed or is not here
        """
        return _answer(self._run(argv))

    def available(self) -> bool:
        try:
            self.config()
        except HpcorchError as error:
            _log.info("Slurm is not available: %s", error)
            return False
        return True

    @cached_property
    def _config(self) -> scontrol.ClusterConfig:
        return scontrol.parse_config(_answer(self._run(commands.scontrol_config())))

    @cached_property
    def _partitions(self) -> list[Partition]:
        return parse_partitions(_answer(self._run(commands.scontrol_partitions())))

    @cached_property
    def _sacct_fields(self) -> frozenset[str]:
        return sacct.parse_fields(_answer(self._run(commands.sacct_fields())))

    def _control(self, verb: str, job_ids: Sequence[str]) -> None:
        if job_ids:
            _settle(self._run(commands.scontrol(verb, job_ids)))

    def _sbatch(
        self, argv: Sequence[str], asked: Mapping[str, str], env: Mapping[str, str] | None
    ) -> process.Finished:
        environ = submission_environment(self._environ if env is None else env, asked)
        own = [sbatch_program(environ), *argv[1:]]
        return _started(lambda: process.run(own, timeout_s=tunables.SLURM_SUBMIT_TIMEOUT_S, env=environ))

    def _run(self, argv: Sequence[str]) -> process.Finished:
        environ = query_environment(self._environ)
        try:
            return _started(lambda: process.run(argv, timeout_s=tunables.SLURM_QUERY_TIMEOUT_S, env=environ))
        except process.CommandTimeoutError as error:
            raise SlurmUnavailableError(f"Slurm could not be asked: {error}. Try again later.") from error


def _started(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except process.CommandMissingError as error:
        raise SlurmUnavailableError(
            f"Slurm's commands are not here: {error}. Work on a login node (or load the site's slurm module), "
            "or use the local backend."
        ) from error


def _asked(script: Path) -> Mapping[str, str]:
    try:
        return directives(script.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return {}  # sbatch itself says best what is wrong with the file


def _answer(done: process.Finished) -> str:
    """Standard output of a command that went well.

    :raises SlurmUnavailableError: it did not; every failure of an inquiry means that we do not know
    """
    if done.returncode == 0:
        return done.stdout
    words = " ".join(done.stderr.split()) or " ".join(done.stdout.split()) or f"exit code {done.returncode}"
    raise SlurmUnavailableError(f"Slurm did not answer {done.argv[0]}: {words}. Try again later.")


def _settle(done: process.Finished) -> None:
    """Judge what scontrol said about several jobs, of which some may be over or unknown."""
    if done.returncode == 0:
        return
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    serious = [line for line in lines if not any(text in line for text in _HARMLESS)]
    if lines and not serious:
        return
    if any(_UNKNOWN_ID in line for line in serious):
        raise NotFoundError(f"Slurm knows no such job (any more): {'; '.join(serious)}.")
    _answer(done)


def sbatch_program(environ: Mapping[str, str]) -> str:
    """``sbatch``; where the first one on PATH is a wrapper that calls ``hpcorch sbatch``, the path of another one.

    Scripts and Makefiles know no alias, so such a wrapper stands in for one. Starting it from here would never end.

    :raises SlurmUnavailableError: there is nothing but wrappers
    """
    found = _on_path(environ)
    first = next(found, None)
    if first is None or not _is_wrapper(first):
        return _SBATCH
    other = next((path for path in found if not _is_wrapper(path)), None)
    if other is None:
        raise SlurmUnavailableError(
            f"{first} calls `hpcorch sbatch`, and there is no sbatch of Slurm's on PATH behind it. Work on a login"
            " node, or load the site's slurm module"
        )
    return str(other)


def _on_path(environ: Mapping[str, str]) -> Iterator[Path]:
    for folder in os.get_exec_path(environ):
        path = Path(folder) / _SBATCH
        if path.is_file() and os.access(path, os.X_OK):
            yield path


def _is_wrapper(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _CALL.search(file.read(_WRAPPERS_SIZE)) is not None
    except OSError:  # it may be executed and not read
        return False


__all__ = ["CliClient", "SlurmClient", "sbatch_program"]
