"""Requests that run recorded runs again, with their launcher keys as frozen or with some changed."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpcorch.errors import UnavailableError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.journal.manifest_file import read_header
from hpcorch.model.entities import Launch
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.services.local.request import LocalRequest, local_request
from hpcorch.services.submission.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmission:
    """Runs of one launch, to be run again.

    :param keys: what they ask for, as it is recorded: the launch's keys, or some changed
    :param asked: run -> what it asks for, where that may be something else and a pool executes them all
    """

    layout: SweepLayout
    launch: Launch
    runs: Sequence[int]
    keys: LaunchKeys
    asked: Mapping[int, LaunchKeys] = field(default_factory=dict)

    @property
    def keys_here(self) -> LaunchKeys:
        """The keys as they are meant here: a relative folder where it was, and the interpreter of the launch.

        :raises UnavailableError: the manifest cannot be read
        """
        return self._here(self.keys)

    def _here(self, keys: LaunchKeys) -> LaunchKeys:
        if keys.submitit_folder is not None:
            keys = replace(keys, submitit_folder=str(Path(self._header().cwd) / keys.submitit_folder))
        return keys if keys.python else replace(keys, python=shlex.quote(self._header().python))

    def request(self, environ: Mapping[str, str]) -> Request:
        """For Slurm, with this environment for the jobs.

        :raises UnavailableError: the manifest cannot be read
        """
        return Request(
            sweep=self.launch.sweep,
            launch=self.launch.first_run,
            runs=self.runs,
            keys=self.keys_here,
            environ=environ,
            host=socket.gethostname(),
            changed=self.keys.changes_since(LaunchKeys.recorded(self.launch.options)),
        )

    def later_request(self, environ: Mapping[str, str], *, wait_s: int) -> Request:
        """For Slurm, when hpcorch resubmits by itself: without the launch's own start conditions.

        A time to begin and dependencies on other jobs held for the launch, which they let start; Slurm may have
        forgotten those jobs since. ``singleton`` holds on.

        :param wait_s: seconds before which nothing starts
        """
        request = self.request(environ)
        return replace(request, keys=request.keys.without_beginning(), begin_s=wait_s)

    def local_request(self) -> LocalRequest:
        """For a pool on this machine.

        :raises UsageError: a key asks for what this machine cannot do
        :raises UnavailableError: the manifest cannot be read
        """
        launch, python = self.launch, self._header().python
        return local_request(
            self.keys_here,
            sweep=launch.sweep,
            launch=launch.first_run,
            runs=self.runs,
            python=python,
            asked={run: self._here(keys) for run, keys in self.asked.items()},
        )

    def _header(self) -> ManifestHeader:
        path = self.layout.manifest(self.launch.first_run)
        try:
            header = read_header(path)
        except OSError as error:
            raise UnavailableError(
                f"the manifest {path} cannot be read ({error.strerror}): without it the runs cannot be run again"
            ) from error
        cwd, python = (str(self.layout.present(Path(place))) for place in (header.cwd, header.python))
        return replace(header, cwd=cwd, python=python)
