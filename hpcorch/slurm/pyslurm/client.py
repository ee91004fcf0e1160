"""The client that asks the queue through pyslurm, without a process for each question."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import ModuleType

from hpcorch import tunables
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.pyslurm import library as pyslurm_library
from hpcorch.slurm.pyslurm.library import PassedOverError
from hpcorch.slurm.pyslurm.rows import CannotTellError, Record, rows

_log = logging.getLogger(__name__)


class PyslurmClient(CliClient):
    """:class:`~hpcorch.slurm.protocol.SlurmClient` by pyslurm where it tells the truth, else by Slurm's commands.

    Which way each call goes:

    ===================  ========  ================================================================================
    call                 way       why
    ===================  ========  ================================================================================
    ``queue``            pyslurm   the same rows (:mod:`hpcorch.slurm.pyslurm.rows`), asked again and again while
                                   something waits; squeue answers what those records do not say
    ``submit, check``    sbatch    a script's directives are read by other rules than sbatch's: 22.5.3 ignores
                                   ``--signal``, 24.11.0 fails with the default environment; the site's plugins of
                                   sbatch would not run; no error text names the value that was refused
    ``accounting``       sacct     ``db.Jobs`` is keyed by id, so that the attempts of an element become one
    ``find_token``       squeue,   asked only about a submission that nobody knows of, and mostly sacct's work
                         sacct
    ``script``           scontrol  pyslurm has no such call on every release
    ``cancel, signal,    scancel,  one request per job, by its raw id: an array's id is also that of one of its
    hold, release,       scontrol  elements; some of the calls read an error that an earlier call has left
    requeue,
    update_throttle``
    ``licenses``         scontrol  what is reserved is not told
    ``config,            scontrol  asked once; no call of pyslurm has them on every release
    partitions,
    available``
    ``ask``              itself    it is a command
    ===================  ========  ================================================================================

    The first questions about the queue go to squeue, too. A pyslurm that does not suit or does not work is passed
    over with a line in the log, for as long as this client lives. Slurm's own time limits hold for a question
    through pyslurm (``MessageTimeout``, 10 s by default), and Python does nothing else meanwhile.

    It speaks for this process's own environment, since Slurm's library does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._queries = 0
        self._library: ModuleType | None = None
        self._passed_over = False

    @property
    def uses_pyslurm(self) -> bool:
        """The last question about the queue that was worth it went to pyslurm, and the next one will."""
        return self._library is not None and not self._passed_over

    def queue(self, job_ids: Iterable[str]) -> list[QueueRow]:
        ids = list(job_ids)
        told = self._told(ids) if ids and self._is_worth_it() else None
        return super().queue(ids) if told is None else told

    def _is_worth_it(self) -> bool:
        self._queries += 1
        return self._queries > tunables.PYSLURM_FROM_QUERIES and not self._passed_over

    def _told(self, ids: list[str]) -> list[QueueRow] | None:
        """The rows as pyslurm tells them; ``None`` if squeue has to."""
        running = self.config().version  # asked once; what stands in its way stands in squeue's, too
        try:
            self._library = self._library or pyslurm_library.load(running)
            return rows(_records(self._library), ids)
        except CannotTellError as reason:
            _log.debug("squeue is used this time instead of pyslurm: %s", reason)
        except PassedOverError as reason:
            self._pass_over(reason)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a foreign library, squeue can be asked
            self._pass_over(f"{type(error).__name__}: {error}")
        return None

    def _pass_over(self, reason: object) -> None:
        self._passed_over = True
        _log.info("squeue is used instead of pyslurm: %s", reason)


def _records(library: ModuleType) -> list[Record]:
    records = list(library.Jobs.load().values())
    if len(records) > tunables.PYSLURM_MAX_RECORDS:
        raise PassedOverError(f"the queue has {len(records)} records of all users, which squeue answers faster")
    return records
