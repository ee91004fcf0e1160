"""Keeper jobs: which submissions need one, and submitting it.

A keeper is one CPU for some seconds, after all tasks of an array are over (``--dependency=afterany``, which runs
after kills and cancels and waits for requeued elements: measured). It looks after the sweep
(:mod:`hpcorch.services.tending.keeper`), so that nobody has to stay logged in. It takes one of the user's submit
slots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hpcorch import tunables
from hpcorch.journal.control import ControlHistory, ControlJournal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Launch, Submission
from hpcorch.model.events import KeeperSubmitted
from hpcorch.model.ids import new_token
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import KEEPER
from hpcorch.model.states import SubmissionState
from hpcorch.model.values import FrozenMapping
from hpcorch.services.submission.arrays import counts_runs
from hpcorch.slurm.job_environment import script_exports
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch.executor import sbatch_text
from hpcorch.slurm.sbatch.quoting import literal_path

_MEMORY_FLAGS = ("mem", "mem-per-cpu", "mem-per-gpu")
# Of the flags that the user added, those that say where a job may run and who pays for it.
_KEPT_FLAGS = ("account", "clusters", "partition", "qos", "reservation", "wckey")


def launches_to_keep(launches: Iterable[Launch], history: ControlHistory, client: SlurmClient) -> frozenset[int]:
    """The launches whose submissions are to have keepers.

    The key ``keeper`` decides; where it does not, those with ``max_retries``, those with runs that wait until Slurm
    takes them, those that share throttled resources, and those of which the partition cancels what it preempts. A
    mode that only a QOS has is not seen: ``keeper: true`` is for that.

    :raises SlurmUnavailableError: Slurm does not answer, and had to be asked
    """
    counted = history.at_once if counts_runs(history) else {}
    shared = {history.submissions[number].launch for number in (*history.throttles, *counted)}
    known = list(launches)
    later = shared | {
        launch.first_run for launch in known if launch.first_run in history.feeding and _waits(launch, history)
    }
    return frozenset(launch.first_run for launch in known if _is_kept(launch, later, client))


def _waits(launch: Launch, history: ControlHistory) -> bool:
    """Whether runs of the launch are still to be submitted."""
    own = (one for one in history.submissions.values() if one.launch == launch.first_run)
    taken = {run for one in own if one.state is not SubmissionState.REJECTED for run in one.runs}
    return len(taken) < launch.count


def _is_kept(launch: Launch, later: Collection[int], client: SlurmClient) -> bool:
    keys = LaunchKeys.recorded(launch.options)
    if keys.keeper is not None:
        return keys.keeper
    if launch.first_run in later:
        return True
    leaves_over = keys.is_packed and keys.detach  # somebody must submit what its tasks had no time for
    return leaves_over or not keys.max_retries.is_empty or _may_be_cancelled(keys, client)


def _may_be_cancelled(keys: LaunchKeys, client: SlurmClient) -> bool:
    """Whether a partition that the jobs may run in preempts them by CANCEL."""
    if not client.config().preempts:
        return False
    wanted = set(keys.asked_partition.split(",")) if keys.asked_partition else None
    return any(
        "CANCEL" in one.preempt_mode
        for one in client.partitions()
        if (one.default if wanted is None else one.name in wanted)
    )


def submit_keeper(
    journal: ControlJournal,
    submission: Submission,
    keys: LaunchKeys,
    environ: Mapping[str, str],
    client: SlurmClient,
) -> str:
    """Submit the keeper of a submission, and record it; its job id.

    :param keys: of the submission
    :raises SubmissionRejectedError: Slurm will not take it
    :raises UnavailableError: Slurm does not answer, or the sweep is somebody else's at the moment
    """
    script = journal.layout.keeper_script(submission.submission)
    text = keeper_script(journal.layout, submission, keys, environ)
    write_whole(script, text.encode("utf-8", "surrogateescape"))
    job_id = client.submit(script, env=environ).job_id
    journal.append(KeeperSubmitted(submission=submission.submission, job_id=job_id), durable=True)
    return job_id


def keeper_script(layout: SweepLayout, submission: Submission, keys: LaunchKeys, environ: Mapping[str, str]) -> str:
    """The batch script of a keeper."""
    return sbatch_text(
        keeper_keys(keys, after=submission.job_id or ""),
        array=None,
        command=(
            "-u",
            "-m",
            KEEPER,
            *layout.words,
            "--submission",
            str(submission.submission),
        ),
        log_pattern=literal_path(str(layout.logs / "keeper.log")),
        token=new_token(),  # of its own: a look-up of the submission's must not find the keeper
        exports=script_exports(environ),
        hold=False,
    )


def keeper_keys(keys: LaunchKeys, *, after: str) -> LaunchKeys:
    """What a keeper asks for: to run where the array may, as little as can be, when that job is over.

    :param keys: of the array
    :param after: the array's job id
    """
    flags = {name: value for name, value in keys.flags.items() if value is not None}
    asked = (keys.mem_gb, keys.mem_per_cpu, keys.mem_per_gpu, *(flags.get(name) for name in _MEMORY_FLAGS))
    place = {name: flags[name] for name in _KEPT_FLAGS if name in flags}
    return LaunchKeys(
        name=f"{keys.name}-keeper",
        timeout_min=tunables.KEEPER_LIMIT_MIN,
        partition=keys.partition,
        qos=keys.qos,
        account=keys.account,
        reservation=keys.reservation,
        setup=keys.setup,
        python=keys.python,
        mem_gb=tunables.KEEPER_MEMORY_GB if any(value is not None for value in asked) else None,
        dependency=f"afterany:{after}",
        additional_parameters=FrozenMapping({**place, "signal": None}),  # it has nothing to save when its time ends
    )
