"""The batch script of one array, made by submitit's Slurm executor under our rules.

From submitit come the names of parameters, their conversion and the text of the script; from here what differs:
one command for the whole array, held and requeueable, marked with its token, without flags nobody asked for.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit

from hpcorch.errors import UsageError
from hpcorch.model.ids import format_ranges, parse_ranges
from hpcorch.model.keys.kinds import parameter_name
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.slurm import commands
from hpcorch.slurm.sbatch.quoting import for_bash, for_directive

Scalar = str | int | float | bool | None
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSED_ON = (
    *("name", "timeout_min", "cpus_per_task", "gpus_per_node", "gpus_per_task", "cpus_per_gpu"),
    *("mem_gb", "mem_per_gpu", "mem_per_cpu", "partition", "qos", "account", "constraint", "exclude"),
    *("gres", "dependency", "nodelist"),
)


def sbatch_text(
    keys: LaunchKeys,
    *,
    array: range | str | None,
    command: Sequence[str],
    log_pattern: str,
    token: str,
    error_pattern: str | None = None,
    exports: Mapping[str, str] | None = None,
    hold: bool = True,
    requeue: bool = True,
    begin_s: int = 0,
) -> str:
    """The text of the batch script that starts one run per array index.

    With one task the script becomes Python by ``exec``; ``srun`` starts it if there are several tasks or if
    ``srun_args`` ask for it.

    :param array: the indices, such as ``range(12)`` or ``"0-3,7"``; ``None`` for a job that is no array
    :param command: what follows ``python``, such as ``("-u", "-m", "hpcorch.runtime", directory)``
    :param log_pattern: sbatch's filename pattern for the log; :func:`.quoting.literal_path` makes its fixed part
    :param error_pattern: likewise for standard error, which otherwise goes into the log too
    :param token: what marks this submission for ever: in ``--comment``, and in a line of the script, since there
        are sites that rewrite comments
    :param exports: environment variables that are set after the ``setup`` lines and before Python starts
    :param begin_s: seconds from the submission before which nothing starts
    :raises UsageError: a value cannot be written into a batch script
    """
    executor = ArrayExecutor(Path(log_pattern).parent, keys, command=command, exports=exports or {})
    flags = _array_flags(array, keys.array_parallelism)
    flags |= {"output": log_pattern, "hold": hold, "requeue": requeue}
    if begin_s > 0:
        flags["begin"] = f"now+{begin_s}"
    if error_pattern is not None and not keys.stderr_to_stdout:
        flags["error"] = error_pattern
    return executor.script(flags, token)


class ArrayExecutor(submitit.SlurmExecutor):
    """submitit's Slurm executor for arrays whose tasks find their work by index instead of in a pickle.

    It makes scripts and argument lists. Submitting is a client's part, which has time limits.
    """

    def __init__(
        self,
        folder: Path,
        keys: LaunchKeys,
        *,
        command: Sequence[str],
        exports: Mapping[str, str],
    ) -> None:
        super().__init__(folder, python=keys.python or for_bash(sys.executable))
        self._keys = keys
        self._command = tuple(command)
        self._exports = dict(exports)
        self._additional = {_parameter_name(k): v for k, v in keys.additional_parameters.items()}
        self._uses_srun = bool(keys.srun_args) or _task_count(keys, self._additional) > 1
        with warnings.catch_warnings():
            # cpus_per_gpu without gpus_per_task is submitit's warning; Slurm takes it with any GPU request.
            warnings.simplefilter("ignore")
            self.update_parameters(**self._convert_parameters(_generic_parameters(keys, self._additional)))

    @classmethod
    def affinity(cls) -> int:
        """Always usable: a script can be made where there is no Slurm (``dry_run``)."""
        return 2

    def script(self, flags: Mapping[str, Scalar], token: str) -> str:
        """The batch script, with ``flags`` beside the keys' own and the token in its comment and in its text."""
        self.parameters["additional_parameters"] = self._checked_flags(flags, token)
        self.parameters["setup"] = [
            f"# {marked(None, token)}",
            *self._keys.setup,
            *map(_export_line, self._exports.items()),
        ]
        for key in self._removed():
            self.parameters[key] = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text: str = self._make_submission_file_text(self._submitit_command_str, token)
        if "signal" not in self.parameters["additional_parameters"]:  # taken away; submitit has one of its own
            text = re.sub(r"^#SBATCH --signal=.*\n", "", text, flags=re.MULTILINE)
        return text

    @property
    def _submitit_command_str(self) -> str:
        python = " ".join([self.python, *map(for_bash, self._command)])
        if not self._uses_srun:
            return f"exec {python}"
        srun = ["srun", "--unbuffered", "--kill-on-bad-exit=1"]
        cpus = self._additional.get("cpus_per_task", self._keys.cpus_per_task)
        if cpus is not None:
            srun.append(f"--cpus-per-task={cpus}")  # since 22.05 srun does not take it over from sbatch
        step = " ".join(["exec", *map(for_bash, [*srun, *self._keys.srun_args]), python])
        # Tasks of a step write into a pipe; only the script itself sees which file is behind it.
        return f'export HPCORCH_LOG="$(readlink "/proc/$$/fd/1")"\n{step}'

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return commands.sbatch(str(submission_file_path))

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string if isinstance(string, str) else string.decode()
        return commands.parse_submitted(text).job_id

    def _internal_process_submissions(self, delayed_submissions: Any) -> Any:
        raise UsageError(f"{type(self).__name__} makes scripts; it does not submit {delayed_submissions!r}.")

    def _checked_flags(self, flags: Mapping[str, Scalar], token: str) -> dict[str, Scalar]:
        """The flags beside submitit's own parameters, the user's last, with what is ``False`` taken away."""
        delay = f"USR1@{self._keys.warned_s}"
        merged: dict[str, Scalar] = {
            "open-mode": "append",
            "signal": delay if self._uses_srun else f"B:{delay}",
            "licenses": _licenses(self._keys.licenses),
            "reservation": self._keys.reservation,
            "nice": self._keys.nice,
            **flags,
        }
        if self._additional.get("no_requeue"):
            merged["requeue"] = False
        merged |= self._additional
        comment = merged.get("comment", self._keys.comment)
        merged["comment"] = marked(None if comment in (None, False) else str(comment), token)
        return {key: _directive(value) for key, value in merged.items() if value is not None and value is not False}

    def _removed(self) -> set[str]:
        taken_away = {key for key, value in self._additional.items() if value is None or value is False}
        return taken_away & self._valid_parameters()


def _parameter_name(flag: str) -> str:
    """submitit's name of a flag; two spellings of one flag must not both reach the script.

    :raises UsageError: the flag is one that the submission decides itself
    """
    name = parameter_name(flag)
    return "open-mode" if name == "open_mode" else name


def _generic_parameters(keys: LaunchKeys, additional: Mapping[str, Scalar]) -> dict[str, Any]:
    """submitit's parameters by its generic names; ``None`` keeps a flag out of the script."""
    # A count of 1 is Slurm's default and some sites refuse it; but --gpus-per-task needs to hear it.
    several = _task_count(keys, additional) > 1 or keys.gpus_per_task is not None
    plain = {key: getattr(keys, key) for key in _PASSED_ON}
    plain |= {
        "nodes": keys.nodes if several else None,
        "tasks_per_node": keys.tasks_per_node if several else None,
        "wckey": None,
        "use_srun": False,
        "stderr_to_stdout": True,
    }
    if plain["mem_gb"] is None:
        del plain["mem_gb"]  # submitit would convert it
    return {key: _directive(value) for key, value in plain.items()}


def _task_count(keys: LaunchKeys, additional: Mapping[str, Scalar]) -> int:
    nodes = _count(additional.get("nodes"), keys.nodes)
    per_node = _count(additional.get("ntasks_per_node"), keys.tasks_per_node)
    return max(_count(additional.get("ntasks"), 1), nodes * per_node)


def _count(value: Scalar, default: int) -> int:
    """A flag's value as a number; a range such as ``2-4`` counts as several."""
    if value is None or isinstance(value, bool):
        return default
    return int(value) if str(value).isdigit() else 2


def _array_flags(array: range | str | None, parallelism: int | None) -> dict[str, Scalar]:
    """``--array`` with a limit only where it limits something."""
    if array is None:
        return {}
    indices = parse_ranges(array) if isinstance(array, str) else array
    if not indices:
        raise UsageError("An array needs at least one run.")
    limit = f"%{parallelism}" if parallelism is not None and parallelism < len(indices) else ""
    return {"array": format_ranges(indices) + limit}


def _export_line(item: tuple[str, str]) -> str:
    name, value = item
    if _ENVIRONMENT_NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} cannot be the name of an environment variable.")
    return f"export {name}={for_bash(value)}"


def _licenses(licenses: Mapping[str, int] | str | None) -> str | None:
    """The value of ``--licenses``; None for none."""
    if licenses is None or isinstance(licenses, str):
        return licenses or None
    return ",".join(f"{name}:{count}" for name, count in licenses.items()) or None


def _directive(value: Any) -> Any:
    return for_directive(value) if isinstance(value, str) else value


__all__ = ["ArrayExecutor", "sbatch_text"]

TOKEN_PREFIX = "hpcorch:"  # noqa: S105 - marks a submission, is no secret


def marked(comment: str | None, token: str) -> str:
    """A comment of the user's with the submission's token behind it."""
    mark = f"{TOKEN_PREFIX}{token}"
    return f"{comment} {mark}" if comment else mark
