"""Exactly-once submission on a pretended Slurm: whoever dies, and whatever sbatch says, a run is executed once."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from hpcorch import tunables
from hpcorch.errors import (
    HpcorchError,
    RecordError,
    SlurmUnavailableError,
    SubmissionRejectedError,
    SubmissionUnknownError,
)
from hpcorch.journal.lines import JournalWriter, encode
from hpcorch.ledger.store import Ledger
from hpcorch.model.events import SubmissionAccepted
from hpcorch.model.ids import utc_now
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.services.submission.request import Request
from hpcorch.services.submission.submit import submit_array
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.slurm.client import CliClient
from tests.support import processes
from tests.support.apps import App
from tests.support.fake_cluster import FakeCluster, sbatch_runs_out_of_time
from tests.support.sweeps import SweepOnDisk, make_sweep
from tests.support.tuning import Tune
from tests.support.waiting import wait_until

# Forking a test is what makes hundreds of deaths cheap; nothing runs beside it.
pytestmark = [pytest.mark.programs, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

RUNS = 40
# Stands in for Python in the batch script: what matters here is what starts, and how often.
COUNTER = '#!/bin/sh\necho "$SLURM_ARRAY_JOB_ID" >> "$FAKE_SLURM_DIR/started"\n'


class Campaign:
    """A recorded sweep on a pretended Slurm, one run of which is submitted at a time."""

    def __init__(self, sweep: SweepOnDisk, cluster: FakeCluster, python: Path) -> None:
        self.sweep = sweep
        self.cluster = cluster
        self.python = python

    def submit(self, run: int = 0, client: Any = None) -> str:
        request = Request(
            sweep=self.sweep.id,
            launch=0,
            runs=[run],
            keys=LaunchKeys(python=str(self.python)),
            environ=os.environ,
            host="login1",
        )
        return submit_array(self.sweep.journal, request, client or CliClient()).job_id

    def ask_slurm(self) -> None:
        with Ledger.open(self.sweep.ledger_path, write=True, create=True) as ledger:
            Reconciler(ledger, self.sweep.journal).ask_slurm(CliClient())

    def states(self, *runs: int) -> list[str]:
        self.sweep.ingest()
        with Ledger.open(self.sweep.ledger_path) as ledger:
            return [run.state.value for run in ledger.runs(self.sweep.id, indices=runs or [0])]

    def somebodys_array(self) -> None:
        """Another array of the same user's, held: the first job of the cluster."""
        path = self.sweep.project / "other.sbatch"
        path.write_text("#!/bin/sh\n#SBATCH --hold\n#SBATCH --array=0-0\ntrue\n")
        CliClient().submit(path, env=os.environ)

    def reasons(self, job_id: str) -> list[str | None]:
        return [row.reason for row in CliClient().queue([job_id])]

    def submissions(self) -> list[Any]:
        return list(self.sweep.journal.history().submissions.values())

    def facts(self) -> list[str]:
        lines = self.sweep.layout.control.read_text().splitlines()
        kinds = (json.loads(line)["kind"] for line in lines)
        return [kind.partition("-")[2] for kind in kinds if kind.startswith("submission-")]


@pytest.fixture
def campaign(tmp_path: Path, cluster: FakeCluster) -> Campaign:
    python = tmp_path / "python"
    python.write_text(COUNTER)
    python.chmod(0o755)
    sweep = make_sweep(tmp_path / "project", [[f"x={x}"] for x in range(RUNS)], backend="slurm")
    sweep.ingest()
    return Campaign(sweep, cluster, python)


def settle_at_once(tune: Tune) -> None:
    tune(SUBMISSION_SETTLES_S=0.0, SACCT_LATE_S=0.0)


class Overridden:
    """A client of which some calls are replaced."""

    def __init__(self, **calls: Callable[..., Any]) -> None:
        self._client = CliClient()
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._client, name)


def wrapper(printed: str | None = None, *, copies: bool = False) -> Overridden:
    """A client whose sbatch is a site's.

    :param printed: the job id that it prints, whatever the job is
    :param copies: whether it hands over a copy of the script, without its comment
    """

    def submit(script: Path, **named: Any) -> Any:
        if copies:
            copy = script.with_name("copy")
            copy.write_text(re.sub("(?m)^#SBATCH --comment.*\n", "", script.read_text()))
            script = copy
        answer = CliClient().submit(script, **named)
        return answer if printed is None else replace(answer, job_id=printed)

    return Overridden(submit=submit)


def raising(error: HpcorchError) -> Callable[..., Any]:
    def call(*_arguments: Any, **_named: Any) -> Any:
        raise error

    return call


# A whole launch


def test_a_sweep_goes_from_the_command_line_to_its_results(on_slurm: App, cluster: FakeCluster) -> None:
    done = on_slurm.launch("x=1,2,3", "fail=2")
    assert done.returncode == 1
    assert "run 1 (x=2 fail=2) failed: ValueError: no good: 2" in done.stderr
    assert on_slurm.states() == ["COMPLETED", "FAILED", "COMPLETED"]
    assert [run.job_id for run in on_slurm.runs()] == ["1_0", "1_1", "1_2"]
    assert [attempt.restart for attempt in on_slurm.attempts()] == [0, 0, 0]


def test_a_rejected_launch_leaves_with_the_cause_and_nothing_in_the_queue(
    on_slurm: App, cluster: FakeCluster
) -> None:
    done = on_slurm.launch("x=1,2", "hydra.launcher.partition=nosuchpartition")
    assert done.returncode == 1
    assert "nosuchpartition" in done.stderr
    assert "Traceback" not in done.stderr
    assert cluster.jobs() == {}
    assert on_slurm.states() == ["PLANNED", "PLANNED"]


# What sbatch may say


@pytest.mark.parametrize("mode", ["timeout", "nonsense", "killed"])
def test_an_sbatch_without_an_answer_is_settled_by_looking(campaign, monkeypatch, mode):
    monkeypatch.setenv("FAKE_SLURM_SBATCH", mode)
    if mode == "timeout":
        sbatch_runs_out_of_time(monkeypatch, campaign.cluster.folder)
    assert campaign.submit() == "1"
    assert campaign.facts() == ["intended", "unknown", "accepted", "released"]
    campaign.cluster.wait_until_idle()
    assert campaign.cluster.started() == ["1"]


@pytest.mark.parametrize(
    ("mode", "error", "exit_code"),
    [
        ("reject:Batch job submission failed: Invalid qos specification", SubmissionRejectedError, 2),
        ("down", SlurmUnavailableError, 3),
    ],
)
def test_a_clear_no_leaves_nothing_and_is_no_submission(campaign, monkeypatch, mode, error, exit_code):
    monkeypatch.setenv("FAKE_SLURM_SBATCH", mode)
    with pytest.raises(error) as raised:
        campaign.submit()
    assert raised.value.exit_code == exit_code
    assert campaign.facts() == ["intended", "rejected"]
    assert campaign.states() == ["PLANNED"]


def test_an_unknown_submission_is_given_up_only_after_the_settling_time(campaign, tune):
    client = Overridden(submit=raising(SubmissionUnknownError("sbatch was killed")))
    with pytest.raises(SubmissionUnknownError, match="status --refresh"):
        campaign.submit(client=client)
    campaign.ask_slurm()
    assert campaign.states() == ["UNCERTAIN"]
    settle_at_once(tune)
    campaign.ask_slurm()
    assert campaign.states() == ["PLANNED"]
    assert campaign.facts() == ["intended", "unknown", "rejected"]


def test_the_settling_time_covers_all_that_an_sbatch_may_take():
    assert 2 * tunables.SLURM_SUBMIT_TIMEOUT_S < tunables.SUBMISSION_SETTLES_S


@pytest.mark.parametrize("call", ["find_token", "release"])
def test_a_controller_that_goes_down_after_sbatch_leaves_a_held_array_that_the_next_look_releases(campaign, call):
    client = Overridden(**{call: raising(SlurmUnavailableError("squeue did not answer."))})
    with pytest.raises(SubmissionUnknownError, match="status --refresh"):
        campaign.submit(client=client)
    assert [row.reason for row in CliClient().queue(["1"])] == ["JobHeldUser"]
    campaign.ask_slurm()
    campaign.cluster.wait_until_idle()
    assert campaign.cluster.started() == ["1"]
    assert campaign.facts()[-2:] == ["accepted", "released"]


def test_a_disk_that_is_full_once_sbatch_has_answered_is_said_and_settled_later(campaign, monkeypatch):
    append = JournalWriter.append

    def full(writer: JournalWriter, fact: Any, *, durable: bool = False) -> None:
        if isinstance(fact, SubmissionAccepted):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(writer, fact, durable=durable)

    with monkeypatch.context() as patched:
        patched.setattr(JournalWriter, "append", full)
        with pytest.raises(RecordError, match=r"No space left.*status --refresh"):
            campaign.submit()
    campaign.ask_slurm()
    campaign.cluster.wait_until_idle()
    assert campaign.facts() == ["intended", "accepted", "released"]
    assert campaign.cluster.started() == ["1"]


def test_an_array_that_was_cancelled_and_forgotten_while_held_ends_its_runs(campaign, tune):
    with pytest.raises(SubmissionUnknownError):
        campaign.submit(client=Overridden(release=raising(SlurmUnavailableError("down."))))
    campaign.cluster.forget("1")
    settle_at_once(tune)
    for _ in range(2):
        campaign.ask_slurm()
    assert campaign.states() == ["CANCELLED"]


def test_of_jobs_with_one_token_only_the_oldest_ever_starts(campaign):
    def submit_three(script: Path, **named: Any) -> Any:
        return [CliClient().submit(script, **named) for _ in range(3)][-1]

    assert campaign.submit(client=Overridden(submit=submit_three)) == "1"
    campaign.cluster.wait_until_idle()
    assert campaign.cluster.started() == ["1"]


def test_a_wrapper_that_prints_another_jobs_id_makes_nobody_touch_that_job(campaign):
    campaign.somebodys_array()
    assert campaign.submit(client=wrapper("1")) == "2"
    assert campaign.reasons("1") == ["JobHeldUser"]


@pytest.mark.parametrize("printed", ["1", "2"])
def test_a_site_that_rewrites_comments_is_believed_by_the_path_of_the_script(campaign, monkeypatch, printed):
    campaign.somebodys_array()
    monkeypatch.setenv("FAKE_SLURM_COMMENTS", "project x")
    assert campaign.submit(client=wrapper(printed)) == "2"
    assert campaign.reasons("1") == ["JobHeldUser"]
    wait_until(lambda: campaign.cluster.started() == ["2"])


def test_a_wrapper_that_copies_the_script_at_such_a_site_is_believed_by_the_text_of_the_script(
    campaign, monkeypatch
):
    monkeypatch.setenv("FAKE_SLURM_COMMENTS", "project x")
    assert campaign.submit(client=wrapper(copies=True)) == "1"
    campaign.cluster.wait_until_idle()
    assert campaign.cluster.started() == ["1"]


def test_a_printed_job_that_shows_no_token_anywhere_is_left_alone_and_the_runs_are_uncertain(
    campaign, monkeypatch, tune
):
    for name, value in (("COMMENTS", "project x"), ("SCRIPTS", "none"), ("ACCOUNTING", "none")):
        monkeypatch.setenv(f"FAKE_SLURM_{name}", value)
    tune(TOKEN_APPEARS_S=0.0)
    settle_at_once(tune)
    campaign.somebodys_array()
    for run, printed in enumerate(("1", "3")):  # the other one's, and its own, which nothing shows
        with pytest.raises(
            SubmissionUnknownError, match=rf"job {printed} is left alone.*scontrol show job {printed}"
        ):
            campaign.submit(run=run, client=wrapper(printed, copies=True))
    campaign.ask_slurm()
    assert campaign.states(0, 1) == ["UNCERTAIN", "UNCERTAIN"]
    assert [campaign.reasons(job) for job in "123"] == [["JobHeldUser"]] * 3
    CliClient().cancel(["3"])
    campaign.ask_slurm()
    assert campaign.states(0, 1) == ["UNCERTAIN", "PLANNED"], "what the user has cancelled is given up"
    monkeypatch.setenv("FAKE_SLURM_SCRIPTS", "all")
    campaign.ask_slurm()
    assert campaign.reasons("1") == ["JobHeldUser"]


# Death of the submitter


class Dying:
    """Kills this process at the n-th of the points after each call to Slurm, and within and after each write.

    The point before each is the one after what comes before it.
    """

    def __init__(self, client: CliClient, at: int) -> None:
        self._client = client
        self._left = at
        append = JournalWriter.append

        def dying_append(writer: JournalWriter, fact: Any, *, durable: bool = False) -> None:
            self._point(lambda: os.write(writer._descriptor, encode(fact, seq=writer.seq, time=utc_now())[:-20]))
            append(writer, fact, durable=durable)
            self._point()

        JournalWriter.append = dying_append  # type: ignore[method-assign] - this process is a copy

    def _point(self, last_deed: Callable[[], object] = lambda: None) -> None:
        if self._left == 0:
            last_deed()
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def dying(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            self._point()
            return result

        return dying


def submit_and_die(campaign: Campaign, client: CliClient, run: int, at: int) -> bool:
    """Submit one run in a process that dies at a point; whether it did, or had no such point."""
    pid = processes.in_another_process(lambda: campaign.submit(run, Dying(client, at)))
    return processes.exit_code(pid) < 0


def test_wherever_the_launcher_is_killed_a_run_is_executed_once_or_known_to_be_not_submitted(campaign, tune):
    settle_at_once(tune)
    client = CliClient()
    client.find_token("none", datetime.now(timezone.utc))  # what is asked once is asked here, and not at each point
    point = 0
    while submit_and_die(campaign, client, run=point, at=point):
        point += 1
    campaign.ask_slurm()
    campaign.cluster.wait_until_idle()
    assert point == 4 + 2 * 3, "four calls to Slurm, and three facts that may be torn"
    outcomes = {"RELEASED": 1, "REJECTED": 0}
    submissions = campaign.submissions()
    for submission in submissions:
        jobs = campaign.cluster.with_token(submission.token)
        assert len(jobs) == outcomes[submission.state.value], submission
        assert jobs == ([submission.job_id] if jobs else [])
    released = [submission.job_id for submission in submissions if submission.state.value == "RELEASED"]
    assert campaign.cluster.started() == sorted(released, key=int)
    assert len(released) == 7 + 1, "from the point on where sbatch has answered, and the one that came through"


def test_two_that_settle_at_once_release_one_array_once(campaign):
    with pytest.raises(SubmissionUnknownError):
        campaign.submit(client=Overridden(find_token=raising(SlurmUnavailableError("down."))))
    pids = [processes.in_another_process(campaign.ask_slurm) for _ in range(2)]
    assert [processes.exit_code(pid) for pid in pids] == [0, 0]
    campaign.cluster.wait_until_idle()
    assert campaign.facts() == ["intended", "accepted", "released"]
    assert campaign.cluster.started() == ["1"]


# What becomes of the elements


def test_a_run_cancelled_while_it_waited_in_an_array_that_is_forgotten_since_is_cancelled(
    campaign, monkeypatch, tune
):
    settle_at_once(tune)
    monkeypatch.setenv("FAKE_SLURM_CPUS", "0")
    campaign.submit()
    CliClient().cancel(["1_0"])
    for _ in range(2):
        campaign.ask_slurm()
    assert campaign.states() == ["CANCELLED"]
