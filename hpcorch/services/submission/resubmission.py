"""Requests that run recorded runs again, with their launcher keys as frozen or with some changed."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import UnavailableError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader, read_header
from hpcorch.model.entities import Launch
from hpcorch.services.local.options import local_request
from hpcorch.services.local.pool import LocalRequest
from hpcorch.services.site.terms import THROTTLES
from hpcorch.services.submission.request import Request
from hpcorch.slurm.sbatch.options import JobOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmission:
    """Runs of one launch, to be run again.

    :param changes: launcher keys that differ from those of the launch
    """

    layout: SweepLayout
    launch: Launch
    runs: Sequence[int]
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, Any]:
        """The launcher's keys: as recorded, a relative folder as it was meant, the changes last.

        :raises UnavailableError: the manifest cannot be read
        """
        folder = self.launch.options.get("submitit_folder")
        place = {} if folder is None else {"submitit_folder": str(Path(self._header().cwd) / str(folder))}
        return {**self.launch.options, **place, **self.changes}

    @property
    def options(self) -> JobOptions:
        """The same as options for Slurm, with the interpreter that the launch had unless the keys name one.

        :raises UsageError: a key has a value that Slurm cannot be given
        """
        options = JobOptions.from_launcher(self.keys)
        return options if options.python else replace(options, python=shlex.quote(self._header().python))

    def request(self, environ: Mapping[str, str]) -> Request:
        """For Slurm, with this environment for the jobs.

        :raises UsageError: a key has a value that Slurm cannot be given
        :raises UnavailableError: the manifest cannot be read
        """
        return Request(
            sweep=self.launch.sweep,
            launch=self.launch.first_run,
            runs=self.runs,
            options=self.options,
            environ=environ,
            host=socket.gethostname(),
            log_folder=self.keys.get("submitit_folder"),
            changed=self.changes,
            throttles=self.keys.get(THROTTLES) or {},
        )

    def later_request(self, environ: Mapping[str, str], *, wait_s: int) -> Request:
        """For Slurm, when nobody asked for it just now: without what the launch said of its own beginning.

        A time to begin and dependencies on other jobs held for the launch, which they let start; Slurm may have
        forgotten those jobs since. ``singleton`` holds on.

        :param wait_s: seconds before which nothing starts
        """
        request = self.request(environ)
        options = request.options
        flags = {k: v for k, v in options.additional_parameters.items() if k not in ("begin", "dependency")}
        singleton = options.dependency if options.dependency == "singleton" else None
        options = replace(options, additional_parameters=flags, dependency=singleton)
        return replace(request, options=options, begin_s=wait_s)

    def local_request(self) -> LocalRequest:
        """For a pool on this machine.

        :raises UsageError: a key asks for what this machine cannot do
        :raises UnavailableError: the manifest cannot be read
        """
        launch, python = self.launch, self._header().python
        return local_request(self.keys, sweep=launch.sweep, launch=launch.first_run, runs=self.runs, python=python)

    def _header(self) -> ManifestHeader:
        path = self.layout.manifest(self.launch.first_run)
        try:
            return read_header(path)
        except OSError as error:
            raise UnavailableError(
                f"the manifest {path} cannot be read ({error.strerror}): without it the runs cannot be run again"
            ) from error
