"""`sbatch` for a user's own script: the same job, and on record what was submitted.

The script is submitted once, by sbatch itself, with every flag as it was written. The intent is on disk before, so
that a job exists on record whatever dies; it is not held, since nobody will submit it again.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpcorch import process
from hpcorch.errors import RecordError, SlurmUnavailableError
from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.inbox import taken_over
from hpcorch.journal.layout import default_ledger
from hpcorch.journal.manifest import digest
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.entities import SBATCH
from hpcorch.model.events import (
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionReleased,
    SubmissionUnknown,
)
from hpcorch.model.ids import format_ranges, new_token, utc_now
from hpcorch.services.exports import SWEEP_VARIABLE, TOKEN_VARIABLE
from hpcorch.services.script_asked import OUR_OPTIONS, asked_in_script, take_ours
from hpcorch.services.script_logs import LOG_KEY
from hpcorch.services.script_request import (
    Granted,
    ScriptRequest,
    array_of,
    code_folder,
    command_line,
    log_pattern,
    merged_values,
)
from hpcorch.services.script_source import Source, read_source
from hpcorch.services.site_place import find_profile, project_at
from hpcorch.services.throttle_state import state_directory
from hpcorch.services.wrapped import RecordedSweep, Wrapped, record_wrapped
from hpcorch.slurm import commands, failures
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch_line import is_heterogeneous, parse_directives, parse_line

# With these sbatch submits nothing.
_SUBMITS_NOTHING = frozenset({"help", "usage", "version", "test-only"})
_HETEROGENEOUS = "heterogeneous jobs are not recorded"
_USAGE_ERROR = 255  # getopt did not understand a flag
_HELP_TIMEOUT_S = 10.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it.

    :param exit_code: sbatch's
    :param sweep: the sweep that the submission is on record as; None where nothing was submitted
    :param notices: sentences for the user
    :param errors: what sbatch wrote to standard error
    """

    exit_code: int
    sweep: str | None = None
    job_id: str | None = None
    cluster: str | None = None
    notices: list[str] = field(default_factory=list)
    errors: str = ""


def sbatch(
    words: Sequence[str],
    *,
    tell: Callable[[bytes], None],
    environ: Mapping[str, str] | None = None,
    read_script: Callable[[], bytes] | None = None,
    shows_errors: bool = True,
) -> Outcome:
    """Submit a batch script as ``sbatch WORDS`` would, and put it on record.

    :param words: the arguments of sbatch, with ``--hpcorch-resource`` and ``--hpcorch-pool`` among them
    :param tell: gets what sbatch is to print, as soon as it is known
    :param read_script: gives the script where no file and no ``--wrap`` does; by default from standard input
    :param shows_errors: whether what sbatch writes to standard error goes to ours as it comes
    :raises UsageError: something is asked of the catalog that it does not have
    :raises PolicyError: the site profile forbids it, with the numbers
    :raises RecordError: it cannot be recorded; nothing was submitted
    :raises SlurmUnavailableError: Slurm does not answer; nothing was submitted
    """
    environ = dict(os.environ if environ is None else environ)
    line = parse_line(words, also=OUR_OPTIONS)
    options = help_text() if line.unknown else ""
    if options:
        line = parse_line(words, options, also=OUR_OPTIONS)
    asked, flags = take_ours(line.flags, options)
    own = [*flags, *words[len(line.flags) :]]
    line = replace(line, flags=flags)
    relay = _Relay(environ=environ, tell=tell, shows_errors=shows_errors)
    if line.is_cut_short or _SUBMITS_NOTHING & line.values.keys():
        return relay.only(own)
    if is_heterogeneous(line):
        return relay.only(own, lost=_HETEROGENEOUS)
    try:
        source = read_source(line, environ, read_script)
    except OSError as error:
        return relay.only(own, lost=f"hpcorch cannot read its script ({error})")
    relay = replace(relay, source=source)
    try:
        values = merged_values(line, environ, parse_directives(source.text, options))
        indices, parallel = array_of(values)
        client = slurm_client()
        if max(indices or [0]) >= client.config().max_array_size:
            raise ValueError("the cluster's arrays are smaller")
    except (ValueError, SlurmUnavailableError) as error:  # sbatch says best what is wrong
        return relay.only(own, lost=str(error))
    if "test-only" in values:
        return relay.only(own)
    if is_heterogeneous(line, source.text):
        return relay.only(own, lost=_HETEROGENEOUS)
    request = ScriptRequest(
        line=line,
        text=source.text,
        path=source.path,
        values=values,
        asked=asked.over(asked_in_script(source.text)),
        indices=indices,
        parallel=parallel,
    )
    return _Submission(request=request, relay=relay, client=client).submit()


def help_text() -> str:
    """What ``sbatch --help`` prints; nothing where there is no sbatch, or it does not work."""
    with suppress(process.CommandMissingError, process.CommandTimeoutError):
        return process.run(["sbatch", "--help"], timeout_s=_HELP_TIMEOUT_S).stdout
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relay:
    """Starts sbatch, with standard input, output and errors where they belong."""

    environ: Mapping[str, str]
    tell: Callable[[bytes], None]
    shows_errors: bool
    source: Source | None = None

    def only(self, words: Sequence[str], *, lost: str | None = None) -> Outcome:
        """Leave it to sbatch: nothing should come of it that would have to be recorded.

        :param lost: why a job that comes of it all the same is not on record
        """
        done = self.run(words, self.tell, {})
        outcome = Outcome(exit_code=_shell_code(done.returncode), errors=_as_text(done.stderr))
        if done.returncode == 0 and lost is not None:
            outcome.notices.append(f"this job is not on record: {lost}")
        return outcome

    def run(
        self,
        words: Sequence[str],
        heard: Callable[[bytes], None],
        variables: Mapping[str, str],
    ) -> process.FinishedRaw:
        """Run sbatch to its end.

        :param variables: that the job gets beside those of the user's environment
        """
        environ = {**self.environ, **variables}
        try:
            return process.relay(
                ["sbatch", *words],
                env=environ,
                stdin=None if self.source is None else self.source.given,
                heard=heard,
                shows_errors=self.shows_errors,
                descriptors=() if self.source is None else self.source.descriptors,
            )
        except process.CommandMissingError as error:
            raise SlurmUnavailableError(
                f"Slurm's commands are not here: {error}. Work on a login node, or load the site's slurm module"
            ) from error


def _as_text(output: bytes) -> str:
    return output.decode(errors="backslashreplace")


def _shell_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


@dataclass(slots=True, kw_only=True)
class _Submission:
    """One submission, from its request to its end."""

    request: ScriptRequest
    relay: _Relay
    client: SlurmClient
    token: str = field(default_factory=new_token)
    outcome: Outcome = field(default_factory=lambda: Outcome(exit_code=0))

    def submit(self) -> Outcome:
        cwd = Path.cwd()
        granted = self._granted(project := project_at(cwd), cwd)
        self.outcome.notices.extend(granted.warnings)
        recorded = self._recorded(cwd, granted)
        throttle = granted.throttle(self.request.parallel)
        with ExitStack() as locked:
            control = locked.enter_context(control_journal(recorded.layout))
            self._intend(recorded, control, throttle)

            def heard(line: bytes) -> None:
                answer = self._answer(line)
                try:
                    self.relay.tell(line if answer is None else self._as_asked(line, answer))
                finally:
                    if answer is not None:
                        self._keep(answer, recorded, control, throttle)
                        locked.close()  # with --wait sbatch stays until the job is over

            words = command_line(self.request, granted, self.token)
            variables = {SWEEP_VARIABLE: str(recorded.layout.directory), TOKEN_VARIABLE: self.token}
            done = self.relay.run(words, heard, variables)
            was_refused = self.outcome.job_id is None and self._was_refused(done, recorded, control, throttle)
        if was_refused:
            _discard(recorded, default_ledger(cwd))
            self.outcome.sweep = None
        elif throttle is not None:
            from hpcorch.services.script_terms import share_out

            share_out(project, self.client)
        self.outcome.exit_code, self.outcome.errors = _shell_code(done.returncode), _as_text(done.stderr)
        return self.outcome

    def _answer(self, line: bytes) -> commands.Submitted | None:
        """The job of a line that sbatch prints; None of any other, such as a plugin's."""
        if self.outcome.job_id is not None:
            return None
        with suppress(ValueError):
            return commands.parse_submitted(_as_text(line))
        return None

    def _granted(self, project: Path, cwd: Path) -> Granted:
        if find_profile(project, self.relay.environ) is None and not self.request.asked:
            return Granted(keys=self.request.keys())
        from hpcorch.services.script_terms import judge  # takes time to load, and most projects have no profile

        return judge(self.request, project, self.client, cwd)

    def _recorded(self, cwd: Path, granted: Granted) -> RecordedSweep:
        request, config = self.request, self.client.config()
        chosen = request.values.get("clusters")
        wrapped = Wrapped(
            name=request.name,
            sweeper=SBATCH,
            backend="slurm",
            config=request.config(digest(request.text)),
            folder=code_folder(request.path, cwd),
            cwd=cwd / request.values.get("chdir", "."),
            argv=["hpcorch", "sbatch", *request.line.words],
            environ=self.relay.environ,
            indices=request.indices,
            options={**granted.keys, LOG_KEY: log_pattern(request, cwd)},
            leases=granted.leases,
            cluster=config.cluster if chosen is None or "," in chosen else chosen,
            slurm_release=config.version,
            throttle_folder=str(state_directory() / config.cluster) if granted.throttles else None,
        )
        recorded = record_wrapped(default_ledger(cwd), wrapped)
        self.outcome.sweep = recorded.sweep
        return recorded

    def _intend(self, recorded: RecordedSweep, control: JournalWriter, throttle: Mapping[str, Any] | None) -> None:
        layout = recorded.layout
        script = layout.script(0)
        try:
            write_whole(script, self.request.text)
            control.append(
                SubmissionIntended(
                    submission=0,
                    batch=recorded.header.batch,
                    runs=format_ranges([run.run for run in recorded.runs]),
                    token=self.token,
                    backend="slurm",
                    host=socket.gethostname(),
                    script=layout.relative(script),
                    script_digest=digest(self.request.text),
                    throttle=dict(throttle) if throttle else None,
                    form=self.request.form.value,
                ),
                durable=True,
            )
        except OSError as error:
            raise RecordError(
                f"the submission cannot be recorded in {layout.state} ({error.strerror}): free space or inodes"
                " there; nothing was submitted"
            ) from error

    def _keep(
        self,
        answer: commands.Submitted,
        recorded: RecordedSweep,
        control: JournalWriter,
        throttle: Mapping[str, Any] | None,
    ) -> None:
        """As :meth:`_accepted`, for a job that exists whether or not that can be written down."""
        try:
            self._accepted(answer, recorded, control, throttle)
        except OSError as error:
            self.outcome.notices.append(
                f"the id of the job could not be recorded ({error.strerror}): `hpcorch status --refresh"
                f" {recorded.sweep}` finds it once there is space"
            )

    def _accepted(
        self,
        answer: commands.Submitted,
        recorded: RecordedSweep,
        control: JournalWriter,
        throttle: Mapping[str, Any] | None,
    ) -> None:
        self.outcome.job_id, self.outcome.cluster = answer.job_id, answer.cluster
        control.append(
            SubmissionAccepted(submission=0, job_id=answer.job_id, cluster=answer.cluster),
            durable=throttle is not None,
        )
        if throttle is None:
            control.append(SubmissionReleased(submission=0), durable=True)
        else:
            from hpcorch.services.begin import begin
            from hpcorch.services.past import read_past

            held = read_past(recorded.layout, recorded.sweep).submissions[0]
            begin(recorded.layout, control, self.client, held, throttle)

    def _as_asked(self, line: bytes, answer: commands.Submitted) -> bytes:
        """What sbatch would have printed: it was told to print the bare id."""
        if "parsable" in self.request.values:
            return line
        cluster = f" on cluster {answer.cluster}" if answer.cluster else ""
        return f"Submitted batch job {answer.job_id}{cluster}\n".encode()

    def _was_refused(
        self,
        done: process.FinishedRaw,
        recorded: RecordedSweep,
        control: JournalWriter,
        throttle: Mapping[str, Any] | None,
    ) -> bool:
        """Settle a submission of which sbatch printed no id; whether it certainly does not exist."""
        if done.returncode == 0:  # with --quiet
            from hpcorch.services.begin import look_up

            found = look_up(self.client, self.token, utc_now())
            if found:
                self._accepted(commands.Submitted(job_id=found[0]), recorded, control, throttle)
            return False
        failure = failures.explain(_as_text(done.stderr), self.request.values)
        if done.returncode == _USAGE_ERROR or failure.meaning is not failures.Meaning.UNKNOWN:
            return True
        control.append(SubmissionUnknown(submission=0, reason=failure.sentence), durable=True)
        self.outcome.notices.append(
            f"whether the job exists is not settled: `hpcorch status --refresh {recorded.sweep}` looks, and"
            " settles it"
        )
        return False


def _discard(recorded: RecordedSweep, ledger: Path) -> None:
    """Take back the record of what was refused: as with sbatch, nothing is left of it."""
    taken_over(ledger, recorded.sweep)
    shutil.rmtree(recorded.layout.directory, ignore_errors=True)
