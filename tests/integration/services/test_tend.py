"""Looking after sweeps on a pretended Slurm, and on this machine: by whoever is present, once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcorch.errors import SubmissionRejectedError
from hpcorch.journal.control import ControlJournal
from hpcorch.ledger.store import Ledger
from hpcorch.services.tending import tend as tending
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.tend import look_after
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.commands import Submitted
from tests.support import processes
from tests.support.apps import App, make_app
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.programs, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

# Fails as often as it is told, and waits for a file if there is one to wait for.
APP = """
import os, pathlib, time
import hydra
from hpcorch import tunables

if "QUICK" in os.environ:  # what the launcher itself waits for
    tunables.RETRY_FIRST_WAIT_S = tunables.RETRY_GROUPING_S = 0.2

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    tries = pathlib.Path(f"tries-{cfg.x}")
    with tries.open("a") as file:
        file.write(os.environ.get("COLOUR", "-") + "\\n")
    while cfg.get("wait_for") and not pathlib.Path(cfg.wait_for).exists():
        time.sleep(0.05)
    if len(tries.read_text().splitlines()) <= cfg.get("failures", 0):
        raise OSError("the disk is full")
    return cfg.x

main()
"""


@pytest.fixture
def app(on_slurm) -> App:
    (on_slurm.folder / "app.py").write_text(APP)
    return on_slurm


@pytest.fixture
def at_once(tune) -> None:
    tune(RETRY_FIRST_WAIT_S=0.0)
    tune(RETRY_GROUPING_S=0.0)
    tune(FAILED_ELEMENT_ENDS_S=2.0)


def detached(app: App, *arguments: str, **environ: str) -> None:
    done = app.launch(*arguments, "hydra.launcher.detach=true", env=environ)
    assert done.returncode == 0, done.stderr


def jobs(app: App) -> dict[str, Any]:
    return json.loads((app.folder.parent / "slurm" / "jobs.json").read_text())


def names(app: App) -> list[str]:
    return [job["flags"]["job-name"] for job in jobs(app).values()]


def arrays(app: App) -> list[str]:
    return [name for name in names(app) if not name.endswith("-keeper")]


@contextmanager
def opened(app: App):
    with Ledger.open(app.ledger, write=True) as ledger:
        sweep = ledger.sweep("last").sweep
        yield Reconciler(ledger, ControlJournal(app.layout(), sweep.id))


def come_by(app: App, client: Any = None) -> TendResult:
    with opened(app) as reconciler:
        return look_after(reconciler, client or CliClient())


def is_over(app: App, state: str) -> bool:
    """Whether Slurm and the journals agree that the first array is over."""
    with opened(app) as reconciler:
        reconciler.ask_slurm(CliClient())
    done = all(task["state"] not in ("PENDING", "RUNNING") for task in jobs(app)["1"]["tasks"].values())
    return done and state in app.states()


def test_a_waiting_launcher_sees_a_run_through_its_retries(app):
    done = app.launch("+x=1", "+failures=2", "hydra.launcher.max_retries=2", env={"QUICK": "1"})
    assert done.returncode == 0, done.stderr
    assert app.states() == ["COMPLETED"]
    assert [attempt.state.value for attempt in app.attempts()] == ["FAILED", "FAILED", "COMPLETED"]
    said = done.stdout  # or a keeper's log: whoever sees a failure first submits the retry
    if (log := app.layout().logs / "keeper.log").exists():
        said += log.read_text()
    for retry in (1, 2):
        assert f"retry {retry} of 2 after FAILED" in said
    assert len(arrays(app)) == 3


def test_a_waiting_launcher_reports_a_failure_once_no_retry_is_left(app):
    done = app.launch("+x=1", "+failures=9", "hydra.launcher.max_retries={FAILED: 1}", env={"QUICK": "1"})
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert len(arrays(app)) == 2


def test_with_nobody_there_the_keeper_submits_the_retry(app, hpcorch):
    once = "hydra.launcher.max_retries=1"
    detached(app, "+x=1", "+failures=1", "+wait_for=go", once, "hydra.launcher.mem_gb=1")
    (app.folder / "go").touch()  # an array that ended before it had a keeper would be looked after by the launcher
    wait_until(lambda: json.loads(hpcorch("status", "--json").out)["state"] == "COMPLETED", timeout_s=120)
    assert names(app) == ["app", "app-keeper", "app", "app-keeper"]
    keeper = jobs(app)["2"]["flags"]
    assert keeper["dependency"] == "afterany:1"
    assert keeper["mem"] == "512MB"
    assert not {"array", "gpus-per-node", "licenses", "hold"} & keeper.keys()
    assert jobs(app)["3"]["flags"]["begin"].startswith("now+")
    assert "submitted again" in (app.layout().logs / "keeper.log").read_text()


def test_what_a_colleague_writes_into_a_shared_ledger_is_not_submitted(app, at_once):
    """Each member of the group may write there; what one's own runs are to do is read from their own record."""
    detached(app, "+x=1", "+failures=9", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    app.ledger.parent.chmod(0o2770)
    with closing(sqlite3.connect(app.ledger)) as ledger, ledger:
        (trigger,) = ledger.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%BEFORE UPDATE ON events%'")
        ledger.execute(f"DROP TRIGGER {trigger[0]}")
        planned = "json_set(body, '$.options.setup', json('[\"touch foreign\"]'))"
        ledger.execute(f"UPDATE events SET body = {planned} WHERE kind = 'launch-planned'")
        assert ledger.execute("SELECT count(*) FROM events WHERE body LIKE '%touch foreign%'").fetchone() == (1,)
    (again,) = come_by(app).resubmitted
    assert again.job_id == "2"
    scripts = [path.read_text() for path in (app.layout().state / "submissions").iterdir()]
    assert (len(scripts), [script for script in scripts if "foreign" in script]) == (2, [])
    with Ledger.open(app.ledger) as ledger:  # that of all has what was done
        assert len(ledger.submissions(app.summary().sweep.id)) == 2


def test_a_run_that_will_be_retried_is_not_called_failed(app, hpcorch):
    detached(app, "+x=1", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    told = hpcorch("status", "last")
    assert told.code == 0
    assert "will be retried at" in told.out
    assert "(1 of 1)" in told.out
    assert json.loads(hpcorch("status", "--json").out)["runs"][0]["retry"]["of"] == 1
    assert arrays(app) == ["app"], "a look does not submit"


def test_two_who_come_by_at_once_submit_once(app, at_once):
    detached(app, "+x=1,2,3", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    children = [processes.in_another_process(lambda: come_by(app)) for _ in range(4)]
    assert [processes.exit_code(child) for child in children] == [0] * 4
    assert len(arrays(app)) == 2
    wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"] * 3)
    assert len(arrays(app)) == 2


class Dies(CliClient):
    """Dies when Slurm has just taken the array."""

    def submit(self, *arguments: Any, **options: Any) -> Submitted:
        super().submit(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_tender_that_is_killed_in_the_midst_of_submitting_leaves_one_array(app, at_once):
    detached(app, "+x=1", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    killed = processes.in_another_process(lambda: come_by(app, Dies()))
    assert processes.exit_code(killed) == -signal.SIGKILL
    wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"])
    assert len(arrays(app)) == 2
    assert [attempt.submission for attempt in app.attempts()] == [0, 1]


def test_what_a_preemption_ended_for_good_is_submitted_again(app, at_once):
    detached(app, "+x=1,2", "+wait_for=go", "hydra.launcher.partition=cheap")
    assert names(app) == ["app", "app-keeper"]
    wait_until(lambda: len(list(app.folder.glob("tries-*"))) == 2)
    subprocess.run(["scancel", "2"], check=True)  # the keeper
    subprocess.run(["scancel", "--preempt", "1_0"], check=True)
    wait_until(lambda: "PLANNED" in come_by_looking(app))
    done = come_by(app)
    (app.folder / "go").touch()
    assert [(one.action.runs, one.action.reason) for one in done.resubmitted] == [
        ((0,), "preempted, and not requeued by Slurm")
    ]
    wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"] * 2)


def come_by_looking(app: App) -> list[str]:
    with opened(app) as reconciler:
        reconciler.ask_slurm(CliClient())
    return app.states()


class RefusesKeepers(CliClient):
    """A site where the user has no submit slot left for a keeper."""

    def submit(self, script: Path, **options: Any) -> Submitted:
        if "keeper" in script.name:
            raise SubmissionRejectedError("you have too many jobs")
        return super().submit(script, **options)


def test_a_keeper_that_slurm_refuses_is_told_and_does_no_harm(app, at_once, monkeypatch):
    detached(app, "+x=1", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    monkeypatch.setattr(tending, "launches_to_keep", lambda launches, past, client: frozenset({0}))
    done = come_by(app, RefusesKeepers())
    assert len(done.resubmitted) == 1
    assert "has no keeper job" in done.sentences[-1]
    wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"])


def test_what_is_submitted_later_gets_the_environment_of_the_launch(app, at_once, monkeypatch, caplog):
    keys = ("+x=1", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    detached(app, *keys, COLOUR="green", MY_TOKEN="hidden")
    wait_until(lambda: is_over(app, "FAILED"))
    recorded = app.layout().environment
    assert stat.S_IMODE(recorded.stat().st_mode) == 0o600
    assert not [path for path in app.folder.rglob("*") if path.is_file() and b"hidden" in path.read_bytes()]
    monkeypatch.setenv("COLOUR", "red")
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with caplog.at_level("WARNING"):
        wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"])
    assert (app.folder / "tries-1").read_text() == "green\ngreen\n"
    assert "has not the variables MY_TOKEN of the launch" in caplog.text
    come_by(app)
    assert not recorded.exists(), "nothing is submitted any more"


def test_a_retry_of_what_was_over_records_its_own_environment(app, at_once, hpcorch, monkeypatch):
    detached(app, "+x=1", "+failures=2", "hydra.launcher.keeper=false", COLOUR="green")
    wait_until(lambda: is_over(app, "FAILED"))
    come_by(app)
    assert not app.layout().environment.exists()
    monkeypatch.setenv("COLOUR", "red")
    monkeypatch.setenv("FAKE_SLURM_CPUS", "0")  # it waits
    assert hpcorch("retry").code == 0
    assert json.loads(app.layout().environment.read_text())["COLOUR"] == "red"


def test_the_command_says_what_it_did_and_does_nothing_twice(app, at_once, hpcorch):
    detached(app, "+x=1,2", "+failures=1", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    wait_until(lambda: is_over(app, "FAILED"))
    told = hpcorch("tend")
    assert told.code == 0
    assert "runs 0-1 of sweep" in told.out
    assert "(retry 1 of 1 after FAILED)" in told.out
    (again,) = json.loads(hpcorch("tend", "last", "--json").out)
    assert again["resubmitted"] == []
    wait_until(lambda: come_by(app) and app.states() == ["COMPLETED"] * 2)
    assert "nothing to do" in hpcorch("tend").err


def test_what_exceeds_a_limit_waits_and_the_keeper_submits_it(app):
    detached(app, "+x=range(8)", "+wait_for=go", FAKE_SLURM_MAX_SUBMIT="5")
    (app.folder / "go").touch()
    wait_until(lambda: app.states() == ["COMPLETED"] * 8 if _asked(app) else False, timeout_s=120)
    assert all((app.folder / f"tries-{x}").read_text() == "-\n" for x in range(8))
    first, *_ = (len(job["tasks"]) for job in jobs(app).values())
    assert first == 4
    assert names(app)[:3] == ["app", "app-keeper", "app"]


def of_all_sweeps(app: App) -> list[str]:
    with Ledger.open(app.ledger) as ledger:
        return [run.state.value for one in ledger.sweeps() for run in ledger.runs(one.sweep.id)]


def test_keepers_do_not_stand_in_the_way_of_the_runs_that_they_submit(app, hpcorch):
    (app.folder / ".hpcorch").mkdir()
    (app.folder / ".hpcorch" / "site.yaml").write_text("pools:\n  few: {limits: {max_submitted: 4}}\n")
    for first in (0, 3, 6):
        place = f"hydra.sweep.dir=multirun/{first}"  # by the second two may have the same
        detached(app, f"+x=range({first},{first + 3})", "hydra.launcher.pool=few", place)
    wait_until(lambda: len(list(app.folder.glob("tries-*"))) == 9, timeout_s=120)  # nobody but keepers comes by
    wait_until(lambda: hpcorch("tend").code == 0 and of_all_sweeps(app) == ["COMPLETED"] * 9)
    assert all((app.folder / f"tries-{x}").read_text() == "-\n" for x in range(9))


def test_what_waits_for_an_array_that_ends_while_its_sweep_is_looked_after_is_submitted_in_its_place(app):
    (app.folder / ".hpcorch").mkdir()
    (app.folder / ".hpcorch" / "site.yaml").write_text("pools:\n  few: {limits: {max_submitted: 4}}\n")
    detached(app, "+x=1,2", "+wait_for=go", "hydra.launcher.pool=few", "hydra.launcher.keeper=false")
    wait_until((app.folder / "tries-1").exists)

    journal = app.layout().directory / ".hpcorch" / "journal" / "0.s0.r0.jsonl"

    class Ending(CliClient):
        """The first array ends when it is asked what room there is beside it."""

        def ask(self, *arguments: Any, **options: Any) -> str:
            answer = super().ask(*arguments, **options)
            (app.folder / "go").touch()
            wait_until(lambda: "attempt-ended" in journal.read_text())
            return answer

    done = come_by(app, Ending())
    assert [array.runs for array in done.fed] == [(1,)]
    assert arrays(app) == ["app", "app"]


@pytest.mark.parametrize("limit", ["3", "4", "6"])
def test_sweeps_that_share_the_smallest_limits_all_end(app, hpcorch, monkeypatch, limit):
    monkeypatch.setenv("FAKE_SLURM_MAX_SUBMIT", limit)
    for first in (0, 4, 8):
        detached(app, f"+x=range({first},{first + 4})", f"hydra.sweep.dir=multirun/{first}")
    wait_until(lambda: hpcorch("tend") and of_all_sweeps(app) == ["COMPLETED"] * 12, timeout_s=120)
    assert all((app.folder / f"tries-{x}").read_text() == "-\n" for x in range(12))


def test_what_waits_for_room_is_submitted_by_who_waits(app):
    done = app.launch("+x=range(8)", "hydra.launcher.keeper=false", env={"FAKE_SLURM_MAX_SUBMIT": "5"})
    assert done.returncode == 0, done.stderr
    assert "4 more runs will be submitted as Slurm accepts them" in done.stdout + done.stderr
    assert app.states() == ["COMPLETED"] * 8


def test_what_waits_for_room_says_so_and_can_be_cancelled(app, hpcorch):
    detached(app, "+x=range(8)", "+wait_for=go", "hydra.launcher.keeper=false", FAKE_SLURM_MAX_SUBMIT="5")
    why = hpcorch("why", "last/7")
    assert "it waits until Slurm accepts more of your jobs" in why.out
    status = hpcorch("status", "last").out
    assert "it waits until Slurm accepts more of your jobs" in status
    assert "will be retried" not in status
    told = hpcorch("tend", "last").out
    assert "runs 4-7 of sweep" in told
    assert "wait until Slurm accepts more of your jobs" in told
    assert hpcorch("cancel", "last", "--yes").code == 0
    wait_until(lambda: app.states() == ["CANCELLED"] * 8 if _asked(app) else False)
    assert len(jobs(app)) == 1


def _asked(app: App) -> bool:
    with opened(app) as reconciler:
        reconciler.ask_slurm(CliClient())
    return True


def test_a_wrong_number_of_retries_is_refused_before_anything_is_submitted(app):
    done = app.launch("+x=1", "hydra.launcher.max_retries={NODE_FIAL: 1}")
    assert done.returncode == 1
    assert "did you mean NODE_FAIL?" in done.stderr
    assert not app.ledger.exists()


def test_a_local_run_is_run_again_as_often_as_it_may(tmp_path, monkeypatch):
    app = make_app(tmp_path / "project", "hpcorch_local")
    (app.folder / "app.py").write_text(APP)
    done = app.launch("+x=1,2", "+failures=2", "hydra.launcher.max_retries=2", env={"QUICK": "1"})
    assert done.returncode == 0, done.stderr
    assert app.states() == ["COMPLETED"] * 2
    assert [attempt.state.value for attempt in app.attempts()] == ["FAILED", "FAILED", "COMPLETED"] * 2
    failing = app.launch("+x=3", "+failures=9", "hydra.launcher.max_retries=1", env={"QUICK": "1"})
    assert failing.returncode == 1
    assert len((app.folder / "tries-3").read_text().splitlines()) == 2
