"""The trial jobs of ``hpcorch doctor --jobs``: one CPU for a minute on two nodes; nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import HpcorchError, SubmissionRejectedError, UnavailableError
from hpcorch.journal.files import write_whole
from hpcorch.model.ids import new_token
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import NODE_TRIAL
from hpcorch.resources.profile.profile import Pool, Profile
from hpcorch.services.doctor import trial as task
from hpcorch.services.doctor.trial_waiting import Trial, Trials, Waiting
from hpcorch.services.recording.submissions import shows
from hpcorch.services.site.survey import Survey
from hpcorch.services.site.user_limits import tried
from hpcorch.slurm.answers.settings import parse_free_nodes, parse_nodes, show_free_nodes
from hpcorch.slurm.job_environment import script_exports
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch.executor import sbatch_text
from hpcorch.slurm.sbatch.quoting import for_bash, literal_path

NAMES = ("a", "b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where trial jobs run.

    :param pool: what of a pool of the profile they ask for
    :param nodes: those that they ask for by name, one each; fewer than jobs where others will do
    :param jobs: how many there are: two if the partition has two nodes, as far as is seen
    """

    pool: Pool | None
    nodes: Sequence[str]
    jobs: int


def choose_place(profile: Profile, facts: Survey, client: SlurmClient, named: str | None) -> Place:
    """Where to try: the named pool, else the one of the default partition, else the first, else as Slurm decides.

    :raises UsageError: the profile has no pool of that name
    """
    default = next((one.name for one in facts.partitions or () if one.default), None)
    pools = list(profile.pools.values())
    chosen = next((one for one in pools if one.partition in (None, default)), pools[0] if pools else None)
    pool = profile.pool(named) if named is not None else chosen
    listed = tried(lambda: client.ask(show_free_nodes((pool.partition if pool else None) or default))) or ""
    nodes = parse_nodes(listed)
    return Place(pool=pool, nodes=parse_free_nodes(listed)[: len(NAMES)], jobs=1 if len(nodes) == 1 else len(NAMES))


def run_trials(
    place: Place,
    client: SlurmClient,
    folder: Path,
    *,
    shared: Sequence[Path],
    timeout_s: float,
    tell: Callable[[str], None],
) -> Trials:
    """Submit the jobs, wait for what they find, and see them gone.

    :param folder: private, below the folder of the ledger
    :param shared: further folders that nodes are to see and write
    :param timeout_s: seconds for all of it
    :param tell: called with the ids of what was submitted, as a sentence
    """
    trials = Trials(hello=new_token())
    write_whole(folder / task.HELLO, trials.hello.encode())
    deadline = time.monotonic() + timeout_s
    with _cancelled_at_last(trials, client):
        try:
            for name in NAMES[: place.jobs]:
                trials.trials.append(_submit(place, name, client, folder, shared))
        except (SubmissionRejectedError, UnavailableError) as error:
            trials.refused = str(error)
        if trials.trials:
            ids = " and ".join(trial.job_id for trial in trials.trials)
            tell(f"trial jobs {ids} are with Slurm; waiting for them, at most {timeout_s:.0f} s")
            Waiting(trials, client, folder, deadline).run()
    return trials


def _submit(place: Place, name: str, client: SlurmClient, folder: Path, shared: Sequence[Path]) -> Trial:
    script = folder / f"{name}.sbatch"
    token = new_token()
    text = script_text(place, name, folder, shared, token=token)
    write_whole(script, text.encode("utf-8", "surrogateescape"))
    return Trial(name=name, job_id=client.submit(script).job_id, token=token)


def script_text(place: Place, name: str, folder: Path, shared: Sequence[Path], *, token: str) -> str:
    """The batch script of one job."""
    started = f'echo "${{SLURMD_NODENAME:-$(uname -n)}}" > {for_bash(str(folder / f"{name}.started"))}'
    tried_too = [word for one in shared for word in ("--shared", str(one))]
    asked = {
        **_node(place, NAMES.index(name)),
        **({} if place.pool is None else place.pool.options()),
        "name": "hpcorch-doctor",
        "timeout_min": tunables.TRIAL_JOB_LIMIT_MIN,
        "setup": [started],
        "additional_parameters": {"signal": False},  # it has nothing to save when its time ends
    }
    return sbatch_text(
        LaunchKeys.parse(asked),
        array=None,
        command=("-u", "-m", NODE_TRIAL, str(folder), name, *tried_too),
        log_pattern=literal_path(str(folder / f"{name}.log")),
        token=token,
        exports=script_exports(os.environ),
        hold=False,
        requeue=False,
    )


def _node(place: Place, number: int) -> dict[str, str]:
    """Each on a node of its own."""
    if number < len(place.nodes):
        return {"nodelist": place.nodes[number]}
    return {"exclude": ",".join(place.nodes)} if place.nodes else {}


@contextmanager
def _cancelled_at_last(trials: Trials, client: SlurmClient) -> Iterator[None]:
    """Whatever happens, Ctrl-C included, no job of ours stays with Slurm, and no other one is cancelled."""
    try:
        yield
    finally:
        with suppress(HpcorchError):  # then they end by themselves after two minutes
            left = [trial for trial in trials.trials if not trial.is_done]
            client.cancel([trial.job_id for trial in left if shows(client, trial.job_id, trial.token)])
