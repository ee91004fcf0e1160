"""One submission of a user's script: recorded, handed to sbatch, and settled as far as sbatch's answer allows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch import process
from hpcorch.errors import UnavailableError
from hpcorch.journal.inbox import taken_over
from hpcorch.journal.project_search import default_ledger
from hpcorch.model.entities import SBATCH
from hpcorch.model.ids import new_token, utc_now
from hpcorch.model.processes import SWEEP_VARIABLE, TOKEN_VARIABLE
from hpcorch.model.states import Backend
from hpcorch.model.values import digest
from hpcorch.services.logs.paths import LOG_KEY
from hpcorch.services.recording.program_sweep import RecordedSweep, WrappedProgram, record_program
from hpcorch.services.recording.submissions import (
    Intent,
    SubmissionRecord,
    jobs_with,
    look_up,
    nothing_shows,
    shows,
)
from hpcorch.services.site.project_profile import find_profile, project_at
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.user_scripts.relay import Outcome, Relay, as_text, shell_code
from hpcorch.services.user_scripts.request import (
    Granted,
    ScriptRequest,
    command_line,
    log_pattern,
    missing_folders,
)
from hpcorch.services.user_scripts.source import code_folder, script_files
from hpcorch.slurm import commands, error_texts
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.protocol import SlurmClient

_USAGE_ERROR = 255  # getopt did not understand a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A recorded sweep whose lock is held.

    :param submission: its only one
    :param throttle: what is recorded of an array that shares throttled resources
    """

    recorded: RecordedSweep
    submission: SubmissionRecord
    throttle: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class ScriptSubmission:
    """One submission, from its request to its end."""

    request: ScriptRequest
    relay: Relay
    client: SlurmClient
    token: str = field(default_factory=new_token)
    outcome: Outcome = field(default_factory=lambda: Outcome(exit_code=0))

    def submit(self) -> Outcome:
        cwd = Path.cwd()
        granted = self._granted(project := project_at(cwd), cwd)
        self.outcome.notices.extend([*granted.warnings, *missing_folders(self.request, cwd)])
        recorded = self._recorded(cwd, granted)
        throttle = granted.throttle(self.request.parallel)
        with ExitStack() as locked:
            locked.enter_context(recorded.journal.locked())
            held = _Held(recorded=recorded, submission=SubmissionRecord.next(recorded.journal), throttle=throttle)
            self._intend(held)

            def heard(line: bytes) -> None:
                answer = self._answer(line)
                try:
                    self.relay.tell(line if answer is None else self._as_asked(line, answer))
                finally:
                    if answer is not None:
                        self._keep(answer, held)
                        locked.close()  # with --wait sbatch stays until the job is over

            words = command_line(self.request, granted, self.token)
            variables = {SWEEP_VARIABLE: str(recorded.layout.directory), TOKEN_VARIABLE: self.token}
            done = self.relay.run(words, heard, variables)
            was_refused = self.outcome.job_id is None and self._was_refused(done, held)
        if was_refused:
            _discard(recorded, default_ledger(cwd))
            self.outcome.sweep = None
        elif throttle is not None:
            from hpcorch.services.user_scripts.terms import rebalance

            rebalance(project, self.client)
        self.outcome.exit_code, self.outcome.errors = shell_code(done.returncode), as_text(done.stderr)
        return self.outcome

    def _answer(self, line: bytes) -> commands.Submitted | None:
        """The job of a line that sbatch prints; None of any other, such as a plugin's."""
        if self.outcome.job_id is not None:
            return None
        with suppress(ValueError):
            return commands.parse_submitted(as_text(line))
        return None

    def _granted(self, project: Path, cwd: Path) -> Granted:
        if find_profile(project, self.relay.environ) is None and not self.request.asked:
            return Granted(keys=self.request.keys())
        from hpcorch.services.user_scripts.terms import (
            judge,  # takes time to load, and most projects have no profile
        )

        return judge(self.request, project, self.client, cwd)

    def _recorded(self, cwd: Path, granted: Granted) -> RecordedSweep:
        request, config = self.request, self.client.config()
        chosen = request.values.get("clusters")
        wrapped = WrappedProgram(
            name=request.name,
            sweeper=SBATCH,
            backend=Backend.SLURM,
            config=request.config(digest(request.text)),
            folder=code_folder(request.path, cwd),
            scripts=script_files(request.path, cwd),
            cwd=cwd / request.values.get("chdir", "."),
            argv=["hpcorch", "sbatch", *request.told_line.words],
            environ=self.relay.environ,
            indices=request.indices,
            options={**granted.options, LOG_KEY: log_pattern(request, cwd)},
            leases=granted.leases,
            cluster=config.cluster if chosen is None or "," in chosen else chosen,
            slurm_release=config.version,
            throttle_folder=str(state_directory() / config.cluster) if granted.keys.throttles else None,
        )
        recorded = record_program(default_ledger(cwd), wrapped)
        self.outcome.sweep = recorded.sweep
        self.outcome.notices.extend(filter(None, [recorded.frozen.trouble]))
        return recorded

    def _intend(self, held: _Held) -> None:
        recorded = held.recorded
        intent = Intent(
            launch=recorded.header.launch,
            runs=[run.run for run in recorded.runs],
            backend=Backend.SLURM,
            token=self.token,
            script=self.request.text,
            form=self.request.form,
            throttle=held.throttle,
        )
        try:
            held.submission.intend(intent)
        except OSError as error:
            raise UnavailableError(
                f"the submission cannot be recorded in {recorded.layout.state} ({error.strerror}): free space or"
                " inodes there; nothing was submitted"
            ) from error

    def _keep(
        self,
        answer: commands.Submitted,
        held: _Held,
    ) -> None:
        """As :meth:`_accepted`, for a job that exists whether or not that can be written down."""
        try:
            self._accepted(answer, held)
        except OSError as error:
            self.outcome.notices.append(
                f"the id of the job could not be recorded ({error.strerror}): `hpcorch status --refresh"
                f" {held.recorded.sweep}` finds it once there is space"
            )

    def _accepted(
        self,
        answer: commands.Submitted,
        held: _Held,
    ) -> None:
        """Put on record the job that shows the token: the one that sbatch named, unless a wrapper is wrong."""
        self.outcome.job_id, self.outcome.cluster = answer.job_id, answer.cluster
        if (job_id := self._own_job(answer, held)) is None:
            return
        self.outcome.job_id = job_id
        held.submission.mark_accepted(job_id, cluster=answer.cluster, durable=held.throttle is not None)
        if held.throttle is None:
            held.submission.mark_released()
        else:
            from hpcorch.services.submission.submit import begin

            begin(held.submission, self.client, held.throttle)

    def _own_job(self, answer: commands.Submitted, held: _Held) -> str | None:
        """The job that shows the token. If none does, that is put on record, and looked at again later."""
        reason = nothing_shows(answer)
        try:
            client = self._client_of(answer.cluster)
            is_own = shows(client, answer.job_id, self.token)
            found = [answer.job_id] if is_own else jobs_with(client, self.token, utc_now(), printed=answer)
        except UnavailableError as error:
            found, reason = [], f"sbatch answered with job {answer.job_id}, which could not be looked at: {error}"
        if not found:
            held.submission.mark_unknown(reason, printed=answer.job_id)
            self.outcome.notices.append(f"{reason}; `hpcorch status --refresh {held.recorded.sweep}` looks again")
        elif answer.job_id not in found:
            self.outcome.notices.append(f"sbatch named job {answer.job_id}, but it has submitted job {found[0]}")
            return found[0]
        return answer.job_id if found else None

    def _client_of(self, cluster: str | None) -> SlurmClient:
        """What asks the cluster that sbatch was told to choose."""
        if cluster is None or cluster == self.client.config().cluster:
            return self.client
        return CliClient({**self.relay.environ, "SBATCH_CLUSTERS": cluster})

    def _as_asked(self, line: bytes, answer: commands.Submitted) -> bytes:
        """What sbatch would have printed: it was told to print the bare id."""
        if "parsable" in self.request.values:
            return line
        cluster = f" on cluster {answer.cluster}" if answer.cluster else ""
        return f"Submitted batch job {answer.job_id}{cluster}\n".encode()

    def _was_refused(
        self,
        done: process.FinishedRaw,
        held: _Held,
    ) -> bool:
        """Settle a submission of which sbatch printed no id; whether it certainly does not exist."""
        if done.returncode == 0:  # with --quiet
            found = look_up(self.client, self.token, utc_now())
            if found:
                self._accepted(commands.Submitted(job_id=found[0]), held)
            return False
        failure = error_texts.explain(as_text(done.stderr), self.request.values)
        if done.returncode == _USAGE_ERROR or failure.meaning is not error_texts.Meaning.UNKNOWN:
            return True
        held.submission.mark_unknown(failure.sentence)
        self.outcome.notices.append(
            f"it is not known whether the job exists: `hpcorch status --refresh {held.recorded.sweep}` finds out"
        )
        return False


def _discard(recorded: RecordedSweep, ledger: Path) -> None:
    """Take back the record of what was refused: as with sbatch, nothing is left of it."""
    taken_over(ledger, recorded.sweep)
    shutil.rmtree(recorded.layout.directory, ignore_errors=True)
