"""A task that uses its run: stopped anywhere, it ends as if it had never been stopped, and the journal says how."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.ledger.store import Ledger
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.services.tending.reconcile import Reconciler
from tests.support.paths import FAKE_SLURM

# Each task draws from the generators that everybody shares, and from one of its own.
APP = '''
import os, random, signal, sys, time
import hydra, numpy
import hpcorch

STEPS = 6

def stop_at(step, place):
    """Send the signal that the environment names, once the step is reached, at the place that it names."""
    if os.environ.get("STOP", "") == f"{place}:{step}":
        os.kill(os.getpid(), getattr(signal, os.environ["STOP_BY"]))

class Slow:
    """Something that is signalled while it is being saved."""
    def __init__(self, step):
        self.step = step
    def __getstate__(self):
        stop_at(self.step, "save")
        stop_at(self.step, "save")
        return {"step": self.step}

def loop(run, own):
    checkpoint = run.restore()
    total, done = checkpoint.state[:2] if checkpoint else (0.0, 0)
    for step in range(done + 1, STEPS + 1):
        total += random.random() + numpy.random.random() + own.random()
        stop_at(step, "step")
        run.log(step, total=total, own=step)
        run.checkpoint(step, lambda: (total, step, Slow(step)), every_steps=int(os.environ.get("EVERY", 1)))
    return total

def epochs(run, own):
    """Batches in an order drawn at the start of each epoch, and checkpoints in the middle."""
    checkpoint = run.restore()
    total, epoch, step = checkpoint.state if checkpoint else (0.0, 0, 0)
    random.random()  # as a model draws its first weights, though they are restored
    while epoch < 2:
        data = list(range(4))
        def shuffled():
            order = data[:]
            random.shuffle(order)
            return iter(order)
        class Loader:
            __iter__ = lambda self: shuffled()
        for batch in run.batches(Loader()):
            total = total * 3 + batch + random.random()
            step += 1
            stop_at(step, "step")
            run.checkpoint(step, (total, epoch, step))
        epoch += 1
    return total

def files(run, own):
    """Another framework writes files of its own."""
    checkpoint = run.restore()
    done = int((checkpoint.files / "model" / "weights.txt").read_text()) if checkpoint else 0
    for step in range(done + 1, STEPS + 1):
        with run.save_files(step) as folder:
            (folder / "model").mkdir()
            (folder / "model" / "weights.txt").write_text(str(step))
        stop_at(step, "step")
    return done

def asks(run, own):
    """Ends by itself when it is asked to."""
    checkpoint = run.restore()
    done = checkpoint.step if checkpoint else 0
    for step in range(done + 1, STEPS + 1):
        stop_at(step, "step")
        if run.stop_requested:
            assert run.seconds_left > 0
            run.save(step - 1)
            return "unfinished"
    return "finished"

def plain(run, own):
    """Knows nothing of stops: it is interrupted."""
    stop_at(1, "step")
    time.sleep(60)

def forks(run, own):
    """A process that the task forks saves and logs, too, with the run that it got from its parent."""
    run.save(numpy.int64(7), "the parent's")
    pid = os.fork()
    if pid == 0:
        for step in range(3):
            run.log(step, child=step)
            run.save(step, "the child's")
        os._exit(0)
    os.waitpid(pid, 0)
    restored = run.restore()
    run.log(numpy.int64(8), parent=1)
    return restored.state

def outside(run, own):
    """What the environment and the configuration say, for code that imports nothing of ours."""
    folder = os.environ["HPCORCH_CHECKPOINT_DIR"]
    os.makedirs(folder, exist_ok=True)
    resumed = os.environ["HPCORCH_RESUME"]
    open(os.path.join(folder, f"model-{len(os.listdir(folder))}.pt"), "w").close()
    open(os.path.join(folder, "model.tmp"), "w").close()
    return [os.path.basename(resumed), os.environ["HPCORCH_ATTEMPT"]]

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    run = hpcorch.current_run()
    own = random.Random(run.seed)
    run.register_generator("own", own)
    print("config:", cfg.get("told"), run.id, run.in_job)
    run.seed_everything()
    tasks = dict(loop=loop, epochs=epochs, files=files, asks=asks, plain=plain, outside=outside, forks=forks)
    return tasks[cfg.task](run, own)

main()
'''
TASKS = ("loop", "epochs", "files", "asks", "plain", "outside", "forks")


@dataclass(frozen=True)
class Attempt:
    """What one process of the runtime left behind."""

    code: int
    facts: tuple[ev.Fact, ...]
    log: str

    def one(self, kind: type[ev.Fact]):
        (found,) = self.all(kind)
        return found

    def all(self, kind: type[ev.Fact]):
        return [fact for fact in self.facts if isinstance(fact, kind)]


class Node:
    """Starts the runtime as Slurm would."""

    def __init__(self, folder: Path, layout: SweepLayout) -> None:
        self.folder = folder
        self.layout = layout

    def start(self, task: str, *, restart: int = 0, submission: int = 0, **environ: str) -> Attempt:
        attempt = AttemptId(run=TASKS.index(task), submission=submission, restart=restart)
        place = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "7", "SLURM_JOB_ID": "7"}
        place |= {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "hpcorch.runtime", str(self.layout.directory)),
                *("--launch", "0", "--submission", str(submission), "--runs", str(attempt.run)),
            ],
            cwd=self.folder,
            env={**os.environ, **place, "PATH": f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}", **environ},
            text=True,
            capture_output=True,
            timeout=120,
        )
        events = read_segment(self.layout.journal(attempt), sweep="", source=str(attempt), offset=0).events
        return Attempt(done.returncode, tuple(event.fact for event in events), done.stdout + done.stderr)

    def undisturbed(self, task: str, **environ: str) -> Attempt:
        """What a run does that nobody stops. Nothing of it is left behind."""
        attempt = self.start(task, **environ)
        self.wipe()
        return attempt

    def wipe(self) -> None:
        """Remove all that attempts have left behind."""
        for path in [*self.layout.journals.iterdir(), *(self.layout.state / "checkpoints").rglob("*.ckpt")]:
            path.unlink()


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A sweep that was recorded and that Slurm refused, so that nothing of it ran."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "app.py").write_text(APP)
    refusing = {"FAKE_SLURM_SBATCH": "reject:Invalid qos specification", "FAKE_SLURM_DIR": str(folder / "slurm")}
    keys = ["hydra.sweep.dir=out", "hydra.launcher.max_num_timeout=1", "hydra.launcher.seed=3"]
    told = "+told='${hpcorch:seed} ${hpcorch:attempt}'"
    done = subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=hpcorch_slurm", f"+task={','.join(TASKS)}", told, *keys],
        cwd=folder,
        env={**os.environ, **refusing, "PATH": f"{FAKE_SLURM}{os.pathsep}{os.environ['PATH']}"},
        text=True,
        capture_output=True,
    )
    assert "Invalid qos" in done.stderr, done.stderr
    return folder


@pytest.fixture
def node(template) -> Node:
    node = Node(template, SweepLayout(template / "out"))
    node.wipe()
    return node


def stops() -> Iterator[tuple[str, str, str]]:
    """A task, where it is stopped and by which signal: each two of them, and with `scripts/test all` each three."""
    places = itertools.product(["step:1", "step:4", "step:6", "save:3"], ["SIGTERM", "SIGUSR1", "SIGKILL"])
    for number, (stop, by) in enumerate(places):
        first, other = ("loop", "epochs") if number % 2 or stop == "save:3" else ("epochs", "loop")
        yield first, stop, by
        if "HPCORCH_EXAMPLES" in os.environ and stop != "save:3":  # in epochs no save can be signalled
            yield other, stop, by


@pytest.mark.parametrize(("task", "stop", "by"), list(stops()))
def test_a_stopped_run_goes_on_and_ends_bit_identical(node, task, stop, by):
    undisturbed = node.undisturbed(task)
    first = node.start(task, STOP=stop, STOP_BY=by)
    assert first.code != 0
    last_saved = max((fact.step for fact in first.all(ev.CheckpointSaved)), default=None)
    second = node.start(task, restart=1)
    assert second.code == 0, second.log
    end = second.one(ev.AttemptEnded)
    assert (end.outcome, end.result) == ("completed", undisturbed.one(ev.AttemptEnded).result)
    if last_saved is None:
        assert second.all(ev.CheckpointAbsent)
    else:
        restored = second.one(ev.CheckpointRestored)
        assert (restored.step, restored.attempt) == (last_saved, f"{TASKS.index(task)}.s0.r0")
        assert {"random", "numpy", "own"} <= set(restored.generators)


def test_a_stop_is_recorded_with_its_signal_after_a_last_checkpoint(node):
    first = node.start("loop", STOP="step:4", STOP_BY="SIGTERM", EVERY="100")
    assert [fact.step for fact in first.all(ev.CheckpointSaved)] == [4]
    assert first.one(ev.AttemptSignalled).signal == "SIGTERM"
    end = first.one(ev.AttemptEnded)
    assert (end.outcome, end.signal, first.code) == ("stopped", "SIGTERM", 128 + signal.SIGTERM)


def test_signals_that_arrive_during_a_save_do_not_break_it(node):
    first = node.start("loop", STOP="save:3", STOP_BY="SIGTERM")
    assert [fact.step for fact in first.all(ev.CheckpointSaved)] == [1, 2, 3]
    assert first.one(ev.AttemptEnded).outcome == "stopped"
    assert [fact.signal for fact in first.all(ev.AttemptSignalled)] == ["SIGTERM", "SIGTERM"]


def test_metrics_go_on_where_the_checkpoint_left_them(node):
    undisturbed = node.undisturbed("loop", EVERY="2")
    first = node.start("loop", STOP="step:5", STOP_BY="SIGKILL", EVERY="2")
    assert first.all(ev.CheckpointSaved)[-1].step == 4
    second = node.start("loop", restart=1, EVERY="2")
    assert curve(first)[:4] + curve(second) == curve(undisturbed)
    summaries = [fact.metrics for fact in second.all(ev.MetricsSummarised)]
    assert summaries[0]["own"] == {"last": [4, 4.0], "min": [1, 1.0], "max": [4, 4.0]}
    assert summaries[-1] == undisturbed.all(ev.MetricsSummarised)[-1].metrics


def curve(attempt: Attempt):
    return [entry for fact in attempt.all(ev.MetricsLogged) for entry in fact.entries]


def test_files_of_another_framework_come_back(node):
    node.start("files", STOP="step:3", STOP_BY="SIGKILL")
    second = node.start("files", restart=1)
    assert second.one(ev.AttemptEnded).result == 3


def test_a_task_that_was_told_to_stop_and_returns_is_not_completed(node):
    first = node.start("asks", STOP="step:3", STOP_BY="SIGTERM")
    end = first.one(ev.AttemptEnded)
    assert (end.outcome, end.result) == ("stopped", None)
    second = node.start("asks", restart=1)
    assert second.one(ev.CheckpointRestored).step == 2
    assert second.one(ev.AttemptEnded).result == "finished"


def test_a_task_that_does_not_look_is_interrupted(node):
    end = node.start("plain", STOP="step:1", STOP_BY="SIGTERM").one(ev.AttemptEnded)
    assert (end.outcome, end.signal) == ("stopped", "SIGTERM")


def test_a_wish_to_end_by_usr2_saves_and_ends(node):
    first = node.start("loop", STOP="step:2", STOP_BY="SIGUSR2", EVERY="100")
    assert [fact.step for fact in first.all(ev.CheckpointSaved)] == [2]
    assert first.one(ev.AttemptEnded).signal == "SIGUSR2"


def test_a_broken_checkpoint_is_passed_over_and_recorded(node):
    undisturbed = node.undisturbed("loop")
    first = node.start("loop", STOP="step:5", STOP_BY="SIGKILL")
    newest = node.layout.directory / first.all(ev.CheckpointSaved)[-1].file
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 1
    newest.write_bytes(content)
    second = node.start("loop", restart=1)
    assert second.one(ev.CheckpointRejected).file == first.all(ev.CheckpointSaved)[-1].file
    assert second.one(ev.CheckpointRestored).step == 3
    assert second.one(ev.AttemptEnded).result == undisturbed.one(ev.AttemptEnded).result
    assert "is skipped" in second.log


def test_a_forked_process_cannot_touch_what_its_parent_saved_and_recorded(node):
    attempt = node.start("forks")
    assert attempt.one(ev.AttemptEnded).result == "the parent's"
    assert [fact.step for fact in attempt.all(ev.CheckpointSaved)] == [7]
    assert curve(attempt) == [[8, {"parent": 1.0}]]


def test_code_that_imports_nothing_of_ours_is_told_where_to_go_on(node):
    first = node.start("outside").one(ev.AttemptEnded)
    assert first.result == ["", "5.s0.r0"]
    again = node.start("outside", submission=2)
    assert again.all(ev.AttemptEnded)[0].outcome == "skipped"
    node.layout.journal(AttemptId(run=5, submission=0, restart=0)).unlink()
    assert node.start("outside", submission=3).one(ev.AttemptEnded).result == ["model-0.pt", "5.s3.r0"]


def test_the_configuration_can_ask_for_seed_and_attempt(node):
    attempt = node.start("asks")
    seed = attempt.all(ev.AttemptSeeded)[0].seed
    assert f"config: {seed} 3.s0.r0 " in attempt.log
    assert attempt.log.rstrip().endswith("True")


def test_outside_a_job_the_same_program_runs_and_saves_nothing(template, tmp_path):
    done = subprocess.run(
        [sys.executable, str(template / "app.py"), "+task=loop", "+told='${hpcorch:seed}'"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "config: 0  False" in done.stdout
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_name_that_has_no_meaning_is_refused_in_a_sentence(template, tmp_path):
    done = subprocess.run(
        [sys.executable, str(template / "app.py"), "+task=loop", "+told='${hpcorch:sed}'"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert "is not defined; these are:" in done.stderr


def test_the_ledger_shows_where_each_attempt_began(node):
    node.start("loop", STOP="step:3", STOP_BY="SIGTERM")
    node.start("loop", restart=1)
    with Ledger.open(node.folder / ".hpcorch" / "ledger.db", write=True) as ledger:
        sweep = ledger.sweep("last").sweep.id
        Reconciler(ledger, ControlJournal(node.layout, sweep)).ingest()
        first, second = (attempt for attempt in ledger.attempts(sweep) if attempt.run == 0)
    assert (first.restored_step, first.checkpoint_step) == (None, 3)
    assert (second.restored_step, second.checkpoint_step) == (3, 6)
