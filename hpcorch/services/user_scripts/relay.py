"""Running sbatch in the foreground, with its standard streams connected to those of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from hpcorch import process
from hpcorch.errors import SlurmUnavailableError
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.user_scripts.source import Source
from hpcorch.slurm.client import sbatch_program


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
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
        outcome = Outcome(exit_code=shell_code(done.returncode), errors=as_text(done.stderr))
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
                [sbatch_program(environ), *words],
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


def as_text(output: bytes) -> str:
    """Output as text; what is none is escaped."""
    return output.decode(errors="backslashreplace")


def shell_code(returncode: int) -> int:
    """An exit code as a shell has it: 128 and the number of a signal that ended the process."""
    return returncode if returncode >= 0 else EXIT_SIGNAL_BASE - returncode
