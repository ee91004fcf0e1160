"""The runtime under attack: whatever a task does and whatever dies, an attempt is claimed once and ends once."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.reader import read_segment
from hpcorch.ledger.store import Ledger
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.__main__ import main
from hpcorch.runtime.attempt import function
from hpcorch.runtime.attempt.results import decode_result
from hpcorch.runtime.context import signals
from hpcorch.services.tending.reconcile import Reconciler
from tests.support import processes
from tests.support.odd_tasks import APP, NAMES
from tests.support.paths import FAKE_SLURM
from tests.support.tuning import Tune
from tests.support.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@dataclass(frozen=True)
class Attempt:
    """What one process of the runtime left behind."""

    code: int
    events: tuple[ev.Event, ...]
    log: Path

    @property
    def end(self) -> ev.AttemptEnded | None:
        """Its end, of which there is at most one."""
        assert [event.seq for event in self.events] == list(range(len(self.events)))
        ends = [event.fact for event in self.events if isinstance(event.fact, ev.AttemptEnded)]
        assert len(ends) <= 1
        return ends[0] if ends else None


class Node:
    """Starts the runtime as Slurm would, in a copy of this process, which has loaded everything already."""

    def __init__(self, layout: SweepLayout, folder: Path) -> None:
        self.layout = layout
        self.folder = folder

    def start(
        self,
        task: str,
        *,
        submission: int = 0,
        restart: int = 0,
        before: Callable[[], object] = lambda: None,
        **environ: str,
    ) -> Attempt:
        attempt = AttemptId(run=NAMES.index(task), submission=submission, restart=restart)
        log = self.folder / f"{attempt}.log"
        pid = processes.in_another_process(lambda: self._execute(attempt, log, before, environ))
        code = processes.exit_code(pid)
        return Attempt(code=code, events=self.events(attempt), log=log)

    def _execute(
        self, attempt: AttemptId, log: Path, before: Callable[[], object], environ: dict[str, str]
    ) -> None:
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.environ.update(
                SLURM_JOB_ID="7",
                SLURM_ARRAY_JOB_ID="7",
                SLURM_ARRAY_TASK_ID="0",
                COUNT_FILE=str(self.count),
                **environ,
            )
            os.environ.update({"SLURM_RESTART_COUNT": str(attempt.restart)} if attempt.restart else {})
            before()
            arguments = ["--launch", "0", "--submission", str(attempt.submission), "--runs", str(attempt.run)]
            os._exit(main([str(self.layout.directory), *arguments]))
        except BaseException:  # noqa: BLE001 - nothing may come back into the test
            traceback.print_exc()
            os._exit(111)

    @property
    def count(self) -> Path:
        return self.folder / "executed"

    def executed(self) -> list[str]:
        return self.count.read_text().split() if self.count.exists() else []

    def events(self, attempt: AttemptId) -> tuple[ev.Event, ...]:
        path = self.layout.journal(attempt)
        return read_segment(path, sweep="", source="", offset=0).events if path.exists() else ()

    def write(self, task: str, *facts: ev.Fact, submission: int = 0, restart: int = 0) -> Path:
        """A journal as an earlier or later attempt would have written it."""
        path = self.layout.journal(AttemptId(run=NAMES.index(task), submission=submission, restart=restart))
        with JournalWriter.create(path) as journal:
            for fact in facts:
                journal.append(fact)
        return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> SweepLayout:
    """A sweep that was recorded and that Slurm refused, so that nothing of it ran."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "app.py").write_text(APP)
    refusing = {"FAKE_SLURM_SBATCH": "reject:Invalid qos specification", "FAKE_SLURM_DIR": str(folder / "slurm")}
    done = subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=hpcorch_slurm", f"+x={','.join(NAMES)}"],
        cwd=folder,
        env={**os.environ, **refusing, "PATH": f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}"},
        text=True,
        capture_output=True,
    )
    assert "Invalid qos" in done.stderr, done.stderr
    (control,) = folder.glob("multirun/*/*/.hpcorch/control.jsonl")
    return SweepLayout(control.parents[1])


@pytest.fixture
def node(recorded: SweepLayout, tmp_path: Path) -> Node:
    for folder in (recorded.journals, recorded.results):
        for path in folder.iterdir() if folder.exists() else ():
            path.unlink()
    return Node(recorded, tmp_path)


CLAIMED = ev.AttemptClaimed(host="n1", pid=1)
COMPLETED = ev.AttemptEnded(outcome="completed", exit_code=0, result=1)

# What tasks do


@pytest.mark.parametrize(
    ("task", "result"),
    [
        ("closes-streams", 1),
        ("returns-tensor", [1.0, 2.0]),
        ("returns-itself", "[1, [...]]"),
        ("returns-shy", "<Shy without a repr>"),
        ("stays", "stayed"),
        ("heeds-by-own-handler", [1]),
        ("terminates-a-worker", -signal.SIGTERM),
    ],
)
def test_a_task_that_returns_has_completed_whatever_it_returns(node: Node, task: str, result: object) -> None:
    done = node.start(task)
    assert (done.code, done.end.outcome, done.end.result) == (0, "completed", result)


def test_a_result_that_cannot_be_pickled_is_described(node: Node) -> None:
    end = node.start("returns-a-lock").end
    assert end.outcome == "completed"
    assert "lock" in end.result


def test_a_huge_result_does_not_go_into_the_journal_and_comes_back_from_a_folder_that_is_gone(node: Node) -> None:
    end = node.start("moves-away").end
    assert len(json.dumps(ev.to_body(end))) < 4096
    assert decode_result(end, node.layout) == list(range(20000))


@pytest.mark.parametrize(
    ("task", "code", "error"),
    [
        ("raises-a-lock", 1, "ValueError: <unlocked _thread.lock"),
        ("raises-mute", 1, "Mute: its text cannot be read"),
        ("raises-odd", 1, "Odd: odd"),
        ("recurses", 1, "RecursionError: maximum recursion depth exceeded"),
        ("interrupts", 1, "KeyboardInterrupt: "),
        ("exits-with-words", 1, "SystemExit: out of patience"),
        ("exits-256", 1, "SystemExit: 256"),
        ("exits-huge", 1, "SystemExit: 1180591620717411303424"),
    ],
)
def test_a_task_that_raises_has_failed_whatever_it_raises(node: Node, task: str, code: int, error: str) -> None:
    done = node.start(task)
    assert (done.code, done.end.outcome, done.end.exit_code) == (code, "failed", code)
    assert done.end.error.startswith(error)


def test_a_task_that_leaves_without_python_leaves_no_end(node: Node) -> None:
    done = node.start("exits-hard")
    assert (done.code, done.end) == (3, None)


def test_a_forked_process_that_comes_back_records_nothing(node: Node) -> None:
    assert node.start("forks").end.result == "parent"


def test_output_of_any_size_stays_in_the_log_whose_range_is_known(node: Node) -> None:
    done = node.start("prints-a-lot")
    assert done.end.log_end == 100 * 2**20
    done.log.unlink()


def test_what_odd_tasks_leave_behind_is_taken_into_the_ledger(node: Node, tmp_path: Path) -> None:
    for task in ("raises-mute", "exits-huge", "returns-itself"):
        node.start(task)
    with Ledger.open(tmp_path / "ledger.db", write=True, create=True) as ledger:
        sweep = json.loads(node.layout.control.read_text().splitlines()[0])["sweep"]
        Reconciler(ledger, ControlJournal(node.layout, sweep)).ingest()
        states = {run.params["x"]: run.state.value for run in ledger.runs(sweep) if run.attempts}
    assert states == {"raises-mute": "FAILED", "exits-huge": "FAILED", "returns-itself": "COMPLETED"}


# Signals


@pytest.mark.parametrize(
    "task", ["stops-itself", "stops-in-a-destructor", "fails-while-stopped", "fails-by-own-handler"]
)
def test_a_task_stopped_by_a_signal_is_recorded_as_stopped(node: Node, task: str) -> None:
    done = node.start(task)
    assert (done.code, done.end.outcome, done.end.signal) == (128 + signal.SIGTERM, "stopped", "SIGTERM")


def stop_at(kind: type[ev.Fact]) -> Callable[[], None]:
    """Have SIGTERM arrive while the first fact of a kind is written."""

    def before() -> None:
        append = JournalWriter.append

        def interrupted(writer: JournalWriter, fact: ev.Fact, *, durable: bool = False) -> None:
            before = writer.seq
            append(writer, fact, durable=durable)
            if isinstance(fact, kind):  # the line is written, and not yet counted
                after, writer.seq = writer.seq, before
                os.kill(os.getpid(), signal.SIGTERM)
                writer.seq = after

        JournalWriter.append = interrupted  # type: ignore[method-assign] - this process is a copy

    return before


@pytest.mark.parametrize("kind", [ev.AttemptClaimed, ev.AttemptVerified, ev.AttemptSeeded, ev.AttemptCalled])
def test_a_signal_while_a_fact_is_written_stops_the_run_before_its_task(node: Node, kind: type[ev.Fact]) -> None:
    done = node.start("counts", before=stop_at(kind))
    assert (done.code, done.end.outcome) == (128 + signal.SIGTERM, "stopped")
    assert node.executed() == []


def test_a_signal_while_the_end_is_written_changes_nothing(node: Node) -> None:
    done = node.start("counts", before=stop_at(ev.AttemptEnded))
    assert (done.code, done.end.outcome) == (0, "completed")


def test_a_signal_while_the_users_modules_are_imported_stops_the_run(node: Node) -> None:
    def before() -> None:
        prepare = function.prepare

        def interrupted(*arguments: object) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            return prepare(*arguments)  # type: ignore[arg-type]

        function.prepare = interrupted  # type: ignore[assignment] - this process is a copy

    done = node.start("counts", before=before)
    assert (done.code, done.end.outcome) == (128 + signal.SIGTERM, "stopped")
    assert node.executed() == []


@pytest.mark.parametrize(
    ("task", "grace_s", "outcomes"), [("has-a-child", 60.0, ["stopped"]), ("hangs-when-stopped", 0.5, [])]
)
def test_nothing_that_a_local_task_started_outlives_a_launcher_that_was_killed(
    node: Node, task: str, grace_s: float, outcomes: list[str], tune: Tune
) -> None:
    tune(LOCAL_GRACE_S=grace_s)
    child_file = node.count.with_suffix(".child")
    run = NAMES.index(task)

    def task_of_a_launcher() -> None:
        os.setsid()
        os.environ["COUNT_FILE"] = str(node.count)
        arguments = ["--launch", "0", "--submission", "0", "--runs", str(run), "--task", "0", "--job-id", "p"]
        os._exit(main([str(node.layout.directory), *arguments]))

    def launcher() -> None:
        processes.in_another_process(task_of_a_launcher)
        wait_until(lambda: child_file.exists() and child_file.read_text().endswith("\n"))

    assert processes.exit_code(processes.in_another_process(launcher)) == 0
    child = int(child_file.read_text())
    wait_until(lambda: not processes.is_alive(child))
    events = node.events(AttemptId(run=run, submission=0, restart=0))
    assert [event.fact.outcome for event in events if isinstance(event.fact, ev.AttemptEnded)] == outcomes


def test_a_local_task_that_is_asked_to_end_has_all_the_time_that_its_launcher_gives_it(
    tune: Tune,
) -> None:
    tune(LOCAL_GRACE_S=0.0)

    def task() -> None:
        os.setsid()
        owner = signals.SignalOwner()
        owner.install()
        signals.end_with_parent()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        assert owner.stopped_by == "SIGTERM"
        assert len([*Path("/proc/self/task").iterdir()]) == 1, "something waits to kill it"

    assert processes.exit_code(processes.in_another_process(task)) == 0


# Claims


def test_of_two_processes_for_one_attempt_one_executes(node: Node) -> None:
    first = node.start("counts")
    second = node.start("counts")
    assert (first.code, second.code) == (0, 1)
    assert second.events == first.events
    assert node.executed() == ["counts"]


def test_a_completed_run_that_is_requeued_executes_nothing(node: Node) -> None:
    node.start("counts")
    again = node.start("counts", restart=1)
    assert (again.code, again.end.outcome) == (0, "skipped")
    assert node.executed() == ["counts"]


def test_a_failed_run_that_is_requeued_executes_again(node: Node) -> None:
    node.start("raises-odd")
    assert node.start("raises-odd", restart=1).end.outcome == "failed"
    assert node.executed() == ["raises-odd"] * 2


def test_a_start_that_comes_after_its_successor_executes_nothing(node: Node) -> None:
    node.write("counts", CLAIMED, restart=1)
    late = node.start("counts")
    assert (late.code, late.end.outcome) == (0, "superseded")
    assert node.executed() == []


def test_a_resubmitted_run_finds_its_end_behind_a_restart_that_left_no_journal(node: Node) -> None:
    node.write("counts", CLAIMED, COMPLETED, restart=1)
    again = node.start("counts", submission=1)
    assert (again.code, again.end.outcome) == (0, "skipped")


def test_an_end_that_is_torn_is_no_end(node: Node) -> None:
    path = node.write("counts", CLAIMED, COMPLETED)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    again = node.start("counts", restart=1)
    assert again.end.outcome == "completed"
    assert node.executed() == ["counts"]


def test_an_element_that_was_asked_to_end_does_so_at_its_next_start(node: Node) -> None:
    """As when a preemption ended its attempt before that could heed the signal. A new submission is a new wish."""
    mark = node.layout.asked(NAMES.index("counts"), 0)
    mark.parent.mkdir()
    mark.touch()
    again = node.start("counts", restart=1)
    assert (again.code, again.end.outcome, again.end.signal) == (140, "stopped", "SIGUSR2")
    assert "was asked to end while an earlier attempt ran" in again.log.read_text()
    assert node.executed() == []
    assert node.start("counts", submission=1).end.outcome == "completed"


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def test_without_a_claim_nothing_is_executed(node: Node) -> None:
    done = node.start("counts", before=full_disk)
    assert (done.code, done.events) == (1, ())
    aside = node.layout.journals.rename(node.folder / "aside")
    done = node.start("counts", restart=1)
    aside.rename(node.layout.journals)
    assert done.code == 1
    assert "nothing was executed" in done.log.read_text()
    assert "Traceback" not in done.log.read_text()
    assert node.executed() == []


def test_an_end_that_cannot_be_written_is_no_success(node: Node) -> None:
    def before() -> None:
        append = JournalWriter.append

        def failing(writer: JournalWriter, fact: ev.Fact, *, durable: bool = False) -> None:
            if isinstance(fact, ev.AttemptEnded):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(writer, fact, durable=durable)

        JournalWriter.append = failing  # type: ignore[method-assign] - this process is a copy

    done = node.start("counts", before=before)
    assert done.code == 1
    assert done.end is None
    assert "ended as completed, but this cannot be recorded" in done.log.read_text()
    assert "Traceback" not in done.log.read_text()


# Ranks other than 0


def test_a_follower_calls_the_task_when_the_leader_does_and_records_nothing(node: Node) -> None:
    node.write("counts", CLAIMED, ev.AttemptCalled())
    done = node.start("counts", SLURM_PROCID="1", SLURM_STEP_NUM_TASKS="2")
    assert (done.code, len(done.events)) == (0, 2)
    assert node.executed() == ["counts"]


@pytest.mark.parametrize(("outcome", "code"), [("skipped", 0), ("refused", 75)])
def test_a_follower_ends_as_a_leader_that_does_not_call(node: Node, outcome: str, code: int) -> None:
    node.write("counts", CLAIMED, ev.AttemptEnded(outcome=outcome, exit_code=code))
    assert node.start("counts", SLURM_PROCID="1").code == code
    assert node.executed() == []


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("raises-odd", 1),
        ("exits-with-words", 1),
        ("stops-itself", 143),
        ("fails-while-stopped", 143),
        ("fails-by-own-handler", 143),
    ],
)
def test_a_follower_that_fails_says_so_to_srun(node: Node, task: str, code: int, tune: Tune) -> None:
    node.write(task, CLAIMED, ev.AttemptCalled())
    impatient = partial(tune, LEADER_STOPS_S=0.5)
    assert node.start(task, before=impatient, SLURM_PROCID="1").code == code


@pytest.mark.parametrize(
    ("is_there", "told"), [(True, "is the directory of sweep"), (False, "was deleted or moved")]
)
def test_a_job_whose_directory_was_exchanged_or_deleted_writes_nothing(
    node: Node, is_there: bool, told: str
) -> None:
    if not is_there:
        node.layout.control.unlink()
    before = sorted(node.layout.state.rglob("*"))
    words = ["--sweep", "20260102-120000-bcdf", "--launch", "0", "--submission", "0", "--runs", "0", "--task", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "hpcorch.runtime", str(node.layout.directory), *words, "--job-id", "p"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, told in done.stderr) == (75, True)
    assert sorted(node.layout.state.rglob("*")) == before
