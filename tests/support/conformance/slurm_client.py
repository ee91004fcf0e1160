"""What every Slurm owes its client: the same cases for the fake and for real daemons.

A test class inherits :class:`SlurmClientConformance` and provides the fixtures ``environ`` (variables with which
Slurm's commands work) and ``folder`` (a directory that nodes see).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hpcorch.errors import NotFoundError, SubmissionRejectedError
from hpcorch.model.ids import new_token
from hpcorch.model.job_states import JobState
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.client import CliClient, SlurmClient
from hpcorch.slurm.sbatch.executor import sbatch_text
from tests.support.waiting import wait_until

# What a rejected value is called, as launcher keys, and a word that the explanation must hold.
REJECTED = {
    "licence": ({"licenses": {"nosuchlicence": 1}}, "nosuchlicence"),
    "partition": ({"partition": "nosuchpartition"}, "nosuchpartition"),
    "GRES": ({"gres": "nosuchgres:1"}, "nosuchgres"),
    "QOS": ({"qos": "nosuchqos"}, "nosuchqos"),
    "account": ({"account": "nosuchaccount"}, "nosuchaccount"),
    "node": ({"nodelist": "nosuchnode"}, "nosuchnode"),
    "feature": ({"constraint": "nosuchfeature"}, "nosuchfeature"),
    "reservation": ({"reservation": "nosuchreservation"}, "nosuchreservation"),
}


class Scripts:
    """Writes batch scripts that run a line of bash per array element, each with a token in its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, body: str = "true", *, array: str | None = "0-2", hold: bool = True, **options: object) -> Path:
        self.token = new_token()
        path = self._folder / f"{self.token}.sh"
        asked = LaunchKeys.parse({"timeout_min": 5, "python": "bash", **options})
        pattern = f"{self._folder}/%A_%a.log" if array else f"{self._folder}/%j.log"
        text = sbatch_text(
            asked, array=array, command=("-c", body), log_pattern=pattern, token=self.token, hold=hold
        )
        path.write_text(text, encoding="utf-8")
        return path


class SlurmClientConformance:
    """The cases."""

    @pytest.fixture
    def client(self, environ: Mapping[str, str]) -> SlurmClient:
        return CliClient(environ)

    @pytest.fixture
    def scripts(self, folder: Path) -> Scripts:
        return Scripts(folder)

    @pytest.fixture
    def submit(self, client: SlurmClient, scripts: Scripts) -> Iterator[Callable[..., str]]:
        """Write and submit a script; what still runs at the end is cancelled."""
        submitted: list[str] = []

        def call(*args: object, **options: object) -> str:
            job_id = client.submit(scripts.write(*args, **options)).job_id  # type: ignore[arg-type]
            submitted.append(job_id)
            return job_id

        yield call
        client.cancel(submitted)
        wait_until(lambda: all(row.state.is_final for row in client.queue(submitted)))

    @pytest.fixture
    def since(self) -> datetime:
        return datetime.now(timezone.utc) - timedelta(seconds=2)

    def test_a_held_array_waits_until_it_is_released(self, client, submit, folder):
        job_id = submit("echo ran $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_JOB_ID")
        rows = client.queue([job_id])
        assert [row.job_id for row in rows] == [f"{job_id}_{i}" for i in range(3)]
        assert {row.state for row in rows} == {JobState.PENDING}
        assert {row.reason for row in rows} == {"JobHeldUser"}
        client.release([job_id])
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED] * 3)
        logs = [(folder / f"{job_id}_{i}.log").read_text() for i in range(3)]
        assert logs == [f"ran {i} of {job_id}\n" for i in range(3)]

    def test_a_job_that_is_no_array_has_one_row_without_index(self, client, submit):
        job_id = submit(array=None)
        (row,) = client.queue([job_id])
        assert (row.job_id, row.index, row.array_job_id) == (job_id, None, job_id)

    def test_every_one_of_evenly_spaced_elements_is_told(self, client, submit):
        spaced = list(range(0, 41, 2))
        job_id = submit(array=",".join(map(str, spaced)))
        assert sorted(row.index for row in client.queue([job_id])) == spaced

    def test_each_waiting_element_has_its_own_reason(self, client, submit):
        spaced = list(range(0, 13, 2))
        job_id = submit(array=",".join(map(str, spaced)), additional_parameters={"begin": "now+3600"})
        client.release([job_id])
        client.hold([f"{job_id}_4", f"{job_id}_8"])
        wait_until(lambda: held(client, job_id) == [4, 8])
        assert sorted(row.index for row in client.queue([job_id])) == spaced
        client.release([f"{job_id}_4"])
        wait_until(lambda: held(client, job_id) == [8])

    def test_unknown_ids_are_absent_from_the_answer(self, client, submit):
        job_id = submit()
        assert client.queue(["999999"]) == []
        assert client.queue(["999999", "999998"]) == []
        assert {row.array_job_id for row in client.queue(["999999", job_id])} == {job_id}
        assert client.queue([]) == []

    def test_the_token_is_found_at_once(self, client, submit, scripts, since):
        job_id = submit(comment="the user's own words")
        assert client.find_token(scripts.token, since) == [job_id]
        assert client.find_token(new_token(), since) == []
        assert client.queue([job_id])[0].comment == f"the user's own words hpcorch:{scripts.token}"

    def test_duplicates_of_a_token_are_found_oldest_first(self, client, submit, scripts, since, folder):
        first = submit()
        second = client.submit(folder / f"{scripts.token}.sh").job_id
        assert client.find_token(scripts.token, since) == [first, second]
        client.cancel([second])

    def test_one_call_cancels_chosen_elements(self, client, submit):
        job_id = submit(array="0-4")
        client.cancel([f"{job_id}_[0,2-3]", "999999"])
        # Slurm forgets elements that were cancelled before it made a record of their own.
        wait_until(lambda: states(client, job_id, JobState.PENDING) == [1, 4])
        client.release([job_id])
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED] * 2)

    def test_an_array_that_is_cancelled_while_it_waits_is_accounted_as_cancelled(self, client, submit, since):
        job_id = submit()
        client.cancel([job_id])
        assert states(client, job_id) == [JobState.CANCELLED] * 3

        def rows():
            return client.accounting([job_id], since)

        wait_until(lambda: {row.state for row in rows()} == {JobState.CANCELLED})
        assert {row.cancelled_by for row in rows()} == {os.getuid()}
        # One row that stands for the whole array, if the database had not heard of its elements before.
        assert [row.index for row in rows()] in ([None], [0, 1, 2])

    def test_a_failing_element_fails_alone(self, client, submit):
        job_id = submit("exit $SLURM_ARRAY_TASK_ID", hold=False)
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED, JobState.FAILED, JobState.FAILED])

    def test_accounting_tells_how_each_attempt_ended(self, client, submit, since):
        job_id = submit("exit $SLURM_ARRAY_TASK_ID", hold=False, array="0,3")

        def rows():
            return sorted(client.accounting([job_id], since), key=lambda row: row.index)

        wait_until(lambda: [row.exit_code for row in rows() if row.state.is_final] == [0, 3])
        assert [row.state for row in rows()] == [JobState.COMPLETED, JobState.FAILED]
        assert all(since <= row.started_at <= row.ended_at for row in rows())
        assert client.accounting(["999999"], since) == []

    def test_a_requeued_element_runs_again_with_a_restart_count(self, client, submit, folder, since):
        body = 'echo "attempt ${SLURM_RESTART_COUNT:-0}"; test -n "$SLURM_RESTART_COUNT" || exec sleep 600'
        job_id = submit(body, array="1-2", hold=False)
        log = folder / f"{job_id}_1.log"
        wait_until(lambda: log.exists() and "attempt 0" in log.read_text())
        client.requeue([f"{job_id}_1"])
        wait_until(lambda: "attempt 1" in log.read_text())
        assert log.read_text().startswith("attempt 0"), "the log was not appended to"
        attempts = [JobState.REQUEUED, JobState.COMPLETED]
        wait_until(lambda: [r.state for r in client.accounting([job_id], since) if r.index == 1] == attempts)
        assert states(client, job_id)[1] is JobState.RUNNING

    def test_a_throttle_limits_how_many_run(self, client, submit, folder):
        log = folder / "together"
        body = f"echo start >> {quoted(str(log))}; sleep 0.2; echo end >> {quoted(str(log))}"
        job_id = submit(body, array="0-3")
        client.update_throttle(job_id, 1)
        client.release([job_id])
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED] * 4)
        assert log.read_text().split() == ["start", "end"] * 4
        with pytest.raises(ValueError, match="no limit"):
            client.update_throttle(job_id, 0)

    def test_holding_again_keeps_waiting_elements(self, client, submit):
        job_id = submit("true", array="0-2")
        client.release([])
        client.hold([job_id])
        assert {row.reason for row in client.queue([job_id])} == {"JobHeldUser"}

    @pytest.mark.parametrize("call", ["hold", "release", "requeue"])
    def test_control_of_an_unknown_job_is_an_error(self, client, call):
        with pytest.raises(NotFoundError, match="999999"):
            getattr(client, call)(["999999"])
        with pytest.raises(NotFoundError):
            client.update_throttle("999999", 2)

    @pytest.mark.parametrize("what", REJECTED)
    def test_a_rejection_names_the_value(self, client, scripts, what):
        options, word = REJECTED[what]
        script = scripts.write(**options)
        with pytest.raises(SubmissionRejectedError, match=word):
            client.submit(script)
        with pytest.raises(SubmissionRejectedError, match=word):
            client.check(script)

    def test_a_rejection_leaves_nothing(self, client, scripts, since):
        with pytest.raises(SubmissionRejectedError):
            client.submit(scripts.write(licenses={"nosuchlicence": 1}))
        assert client.find_token(scripts.token, since) == []

    def test_an_array_that_is_too_large_is_rejected(self, client, scripts):
        largest = client.config().max_array_size
        with pytest.raises(SubmissionRejectedError, match="MaxArraySize"):
            client.submit(scripts.write(array=f"0-{largest}"))
        client.check(scripts.write(array=f"0-{largest - 1}"))

    def test_a_dependent_job_waits_for_the_whole_array(self, client, submit):
        array = submit(array="0-1")
        keeper = submit(array=None, hold=False, dependency=f"afterany:{array}")
        assert states(client, keeper) == [JobState.PENDING]
        client.release([array])
        wait_until(lambda: states(client, keeper) == [JobState.COMPLETED])
        assert states(client, array) == [JobState.COMPLETED] * 2

    def test_odd_text_reaches_the_task_byte_for_byte(self, client, submit, folder):
        odd = 'it\'s "q" \\ $(id) `x` #é漢,%j\t|end'
        job_id = submit(f'printf %s {quoted(odd)} "$SLURM_JOB_NAME"', array="0", hold=False, name=odd, comment=odd)
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED])
        assert (folder / f"{job_id}_0.log").read_text(encoding="utf-8") == odd * 2
        assert client.queue([job_id])[0].comment.startswith(f"{odd} hpcorch:")

    def test_several_tasks_start_under_srun_into_the_same_log(self, client, submit, folder):
        job_id = submit("echo rank $SLURM_PROCID", array="0", hold=False, tasks_per_node=2, cpus_per_task=1)
        wait_until(lambda: states(client, job_id) == [JobState.COMPLETED])
        assert sorted((folder / f"{job_id}_0.log").read_text().splitlines()) == ["rank 0", "rank 1"]

    def test_the_cluster_describes_itself(self, client):
        assert client.available()
        config = client.config()
        assert config.accounting
        assert config.max_array_size > 1
        assert {one.name: one.total for one in client.licenses()}["scratch"] == 4


def quoted(text: str) -> str:
    """One word of bash."""
    return "'" + text.replace("'", "'\\''") + "'"


def held(client: SlurmClient, job_id: str) -> list[int | None]:
    """The elements that wait because their user holds them."""
    return sorted(row.index for row in client.queue([job_id]) if row.reason == "JobHeldUser")


def states(client: SlurmClient, job_id: str, only: JobState | None = None) -> list:
    """The elements' states in the order of their indices, or the indices of those in one state."""
    rows: list[QueueRow] = sorted(client.queue([job_id]), key=lambda row: row.index or 0)
    return [row.state for row in rows] if only is None else [row.index for row in rows if row.state is only]
