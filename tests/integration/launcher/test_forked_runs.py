"""Runs that are forked from one process.

Each is what it is in a process of its own, and what a fork cannot carry over is seen before anything is forked.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from hpcorch import tunables
from hpcorch.ledger.store import Ledger
from hpcorch.model.events import AttemptClaimed
from tests.support.apps import APP, App
from tests.support.command_line import CommandLine
from tests.support.processes import is_alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

FORKED = "hydra.launcher.runs_per_task=auto"
#: How many processes are killed. The issue of packed tasks asks for a hundred.
KILLS = 100 if "HPCORCH_EXAMPLES" in os.environ else 6

STATE = """
    import atexit, datetime, os, pathlib, random, subprocess, sys
    import hydra
    import helper

    STARTED = datetime.datetime.now().isoformat()

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        import hpcorch
        from hydra.core.hydra_config import HydraConfig

        atexit.register(lambda: pathlib.Path("exits.txt").open("a").write(f"{cfg.x} "))
        global LATE
        LATE = open("late.txt", "a")
        LATE.write(f"{cfg.x} ")
        import numpy  # for the first time

        child = [sys.executable, "-c", "import helper; print(helper.NAME)"]
        return {
            "x": cfg.x,
            "of_hydra": [HydraConfig.get().job.num, HydraConfig.get().overrides.task, HydraConfig.get().job.name],
            "drawn": [random.random(), float(numpy.random.rand()), STARTED],
            "argv": [word for word in sys.argv if "runs_per_task" not in word],
            "environ": [os.environ["HPCORCH_SEED"], os.environ["HPCORCH_RUN_DIR"][-1], hpcorch.current_run().seed],
            "files": [os.path.basename(__file__), os.path.basename(helper.__file__), os.path.basename(os.getcwd())],
            "child": subprocess.run(child, capture_output=True, text=True).stdout,
            "leads": os.getsid(0) == os.getpid(),
        }

    if __name__ == "__main__":
        main()
"""


def write(app: App, text: str) -> None:
    (app.folder / "app.py").write_text(dedent(text))


def claimed(app: App) -> list[AttemptClaimed]:
    with Ledger.open(app.ledger) as ledger:
        found = ledger.events(ledger.sweep("last").sweep.id, kinds=[AttemptClaimed.kind])
    return [event.fact for event in found]


def records(app: App) -> list[list[object]]:
    """What is on record of each run, but for what differs between two sweeps."""
    with Ledger.open(app.ledger) as ledger:
        sweep = ledger.sweep("last").sweep.id
        kinds = [[e.fact.kind for e in ledger.events(sweep) if e.source == str(a)] for a in ("0.s0.r0", "1.s0.r0")]
    said = [[run.state.value, run.seed, run.config_digest, run.params, run.exit_code] for run in app.runs()]
    return [[*one, kind] for one, kind in zip(said, kinds, strict=False)]


def test_a_forked_run_is_as_one_in_a_process_of_its_own(locally):
    write(locally, STATE)
    (locally.folder / "helper.py").write_text("NAME = 'frozen'\n")
    both = []
    for how in ("hydra.launcher.runs_per_task=1", FORKED):
        done = locally.launch("+x=1,2,3", "hydra.launcher.seed=7", how)
        assert done.returncode == 0, done.stderr
        both.append(([run.result for run in locally.runs()], records(locally)))
        for name in ("late.txt", "exits.txt"):
            assert sorted((locally.folder / name).read_text().split()) == ["1", "2", "3"]
            (locally.folder / name).unlink()
    (alone, of_alone), (forked, of_forked) = both
    for one, other in zip(alone, forked, strict=True):
        one["drawn"].pop(), other["drawn"].pop()
        assert one == other
    assert of_alone == of_forked
    assert [one.forked for one in claimed(locally)] == [True] * 3
    assert len({one.pid for one in claimed(locally)}) == 3


IN_SERVER = "import os, sys\nif '--serve' in sys.orig_argv: "
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(2,), name='mine', daemon=True).start()"
CHILD = "import subprocess; child = subprocess.Popen(['sleep', '2'])"
WITH = "with open('app.py'):\n    main()"
GUARDED = "def run():\n    try:\n        main()\n    finally:\n        pass"
HOOK = "import atexit, shutil\natexit.register(shutil.rmtree, 'nothing', True)"
EARLY = "it has asked for the run before there was one"
SAMPLER = "import random\nclass Sampler:\n    rng = random.Random(1)"
MORTAL = "class Mortal:\n    def __del__(self):\n        pass\nONE = Mortal()"


@pytest.mark.parametrize(
    ("before", "call", "why"),
    [
        (THREAD, "main()", "it has started threads (mine)"),
        (CHILD, "main()", "it has started processes (sleep,"),
        ("import signal; signal.alarm(1000)", "main()", "it has set an alarm"),
        (
            "import os; os.environ.get('HPCORCH_SEED')",
            "main()",
            "it has asked for the run before there was one (HPCORCH_SEED)",
        ),
        (
            "import os; 'HPCORCH_RUN' in os.environ",
            "main()",
            "it has asked for the run before there was one (HPCORCH_RUN)",
        ),
        (
            "import hpcorch; RUN = hpcorch.current_run()",
            "main()",
            "it has asked for the run before there was one (HPCORCH_",
        ),
        (HOOK, "main()", "it has registered exit hooks (app.py, line 7), and each run would call them"),
        ("DATA = open(__file__)", "main()", "it has files open that all runs would share ("),
        ("import multiprocessing; N = multiprocessing.Value('i')", "main()", "that all runs would share ("),
        ("import mmap; SHARED = mmap.mmap(-1, 4096)", "main()", "it has memory that all runs would share ("),
        ("import random; RNG = random.Random(1)", "main()", "it has a random generator of its own (RNG in __main"),
        (
            "import random\nclass Sampler:\n    rng = random.Random(1)",
            "main()",
            "it has made random generators (Random)",
        ),
        ("import os; VALUES = dict(os.environ)", "main()", f"{EARLY} (CUDA_VISIBLE_DEVICES, HPCORCH_ATTEMPT, "),
        ("import os; os.environb.get(b'CUDA_VISIBLE_DEVICES')", "main()", f"{EARLY} (CUDA_VISIBLE_DEVICES)"),
        (MORTAL, "main()", "it has an object with a __del__ (ONE in __main__)"),
        ("import random; random.random()", "main()", "it has drawn random numbers, or seeded their generators"),
        ("import random; random.seed(1)", "main()", "it has drawn random numbers, or seeded their generators"),
        ("", WITH, "it calls its function inside of a try or with statement (app.py,"),
        (GUARDED, "run()", "it calls its function inside of a try or with statement (app.py, line "),
        (f"{IN_SERVER}raise SystemExit(3)", "main()", "it has ended with exit code 3 before it"),
        (f"{IN_SERVER}1 / 0", "main()", "it has ended with ZeroDivisionError: division by zero"),
        (f"{IN_SERVER}os.kill(os.getpid(), 9)", "main()", "the process that has started it ended with exit"),
    ],
)
def test_what_stands_in_the_way_of_forking_is_said_once_and_the_runs_start_alone(locally, before, call, why):
    main = "@hydra.main(version_base=None, config_path=None)\ndef main(cfg):\n    return cfg.x\n"
    (locally.folder / "app.py").write_text(f"import hydra\n{main}\n{before}\n{call}\n")
    done = locally.launch("+x=1,2,3", FORKED)
    assert done.returncode == 0, done.stderr
    assert [run.result for run in locally.runs()] == [1, 2, 3]
    assert [one.forked for one in claimed(locally)] == [False] * 3
    said = [line for line in (done.stdout + done.stderr).splitlines() if "started one by one" in line]
    assert len(said) == 1
    assert why in said[0]


def test_functions_and_blocks_beside_the_call_are_no_obstacle(locally):
    write(
        locally,
        """
        import hydra
        try:
            import nothing_like_this
        except ImportError:
            pass
        with open(__file__) as source:
            TEXT = source.read()
        def other():
            with open(__file__):
                pass
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return cfg.x
        def run():
            other()
            main()
        if __name__ == "__main__":
            run()
        """,
    )
    assert locally.launch("+x=1,2", FORKED).returncode == 0
    assert [one.forked for one in claimed(locally)] == [True] * 2


def test_every_way_to_end_is_the_end_of_one_run(locally):
    done = locally.launch("x=1,2,3,4", "fail=1", "die=2", "leave=3", FORKED)
    assert done.returncode == 1
    assert locally.states() == ["FAILED", "FAILED", "FAILED", "COMPLETED"]
    assert [(run.exit_code, run.error or run.reason) for run in locally.runs()][:3] == [
        (1, "ValueError: no good: 1"),
        (None, "the process was killed by SIGKILL"),
        (7, "SystemExit: 7"),
    ]
    assert all(one.forked for one in claimed(locally))


def test_runs_share_few_logs_and_each_shows_its_own_part(locally, hpcorch: CommandLine):
    write(
        locally,
        """
        import atexit, sys
        import hydra
        print("the program begins")
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            atexit.register(lambda: print(f"exit hook of {cfg.x}"))
            print(f"output of {cfg.x}")
            print(f"error of {cfg.x}", file=sys.stderr)
        main()
        """,
    )
    keys = ("hydra.launcher.slots=2", "hydra.launcher.compact=true", FORKED)
    assert locally.launch("+x=0,1,2,3,4", *keys).returncode == 0
    layout = locally.layout()
    assert sorted(path.name for path in layout.logs.iterdir()) == ["s0_0.log", "s0_1.log", "s0_program.log"]
    assert "the program begins" in (layout.logs / "s0_program.log").read_text()
    assert len(list(layout.journals.iterdir())) == 5
    for run in range(5):
        lines = hpcorch("logs", f"last/{run}").out.splitlines()
        assert lines == [f"output of {run}", f"error of {run}", f"exit hook of {run}"]


def test_one_forked_run_can_be_cancelled_while_the_others_go_on(locally, hpcorch: CommandLine):
    sweep = locally.start("x=1,2,3", "wait_for=go", "hydra.launcher.slots=2", FORKED)
    wait_until(lambda: all((locally.folder / f"started-{x}").exists() for x in (1, 2)))
    assert hpcorch("cancel", "last/1", "--yes").code == 0
    (locally.folder / "go").touch()
    assert sweep.wait(timeout=60) == 1
    assert locally.states() == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert "cancelled by" in (locally.runs()[1].reason or "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launcher_stops_forked_runs(locally, number):
    sweep = locally.start("x=1,2,3", "wait_for=never", "hydra.launcher.slots=2", FORKED)
    wait_until(lambda: all((locally.folder / f"started-{x}").exists() for x in (1, 2)))
    children = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(number)
    assert sweep.wait(timeout=60) == 128 + number
    assert not any(is_alive(child.pid) for child in children)
    assert locally.states() == ["CANCELLED"] * 3


def test_a_launcher_can_be_stopped_while_the_program_starts(locally):
    (locally.folder / "app.py").write_text(f"{IN_SERVER}import time; open('begun', 'w'); time.sleep(100)\n{APP}")
    sweep = locally.start("x=1,2", FORKED)
    wait_until((locally.folder / "begun").exists)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=tunables.LOCAL_GRACE_S / 2) == 128 + signal.SIGINT
    assert locally.states() == ["CANCELLED"] * 2


def test_forked_runs_of_a_killed_launcher_do_not_go_on_without_it(locally, hpcorch: CommandLine):
    sweep = locally.start("x=1,2", "wait_for=never", FORKED)
    wait_until(lambda: all((locally.folder / f"started-{x}").exists() for x in (1, 2)))
    children = psutil.Process(sweep.pid).children(recursive=True)
    sweep.kill()
    wait_until(lambda: not any(is_alive(child.pid) for child in children))
    hpcorch("status", "last", "--refresh")
    assert locally.states() == ["CANCELLED", "CANCELLED"]


def test_what_a_program_that_is_not_forked_from_does_at_its_end_is_done_before_it_starts_again(locally):
    write(
        locally,
        """
        import atexit, os, random, sys
        import hydra
        if "-m" not in sys.argv:  # the launcher is no run
            os.close(os.open("mine.lock", os.O_CREAT | os.O_EXCL))
            atexit.register(os.unlink, "mine.lock")
        random.random()
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return cfg.x
        main()
        """,
    )
    assert locally.launch("+x=1,2,3", "hydra.launcher.slots=1", FORKED).returncode == 0
    assert [one.forked for one in claimed(locally)] == [False] * 3


def test_signals_that_the_program_blocks_and_a_new_name_of_the_process_keep_nobody_from_it(locally, hpcorch):
    write(
        locally,
        """
        import ctypes, os, pathlib, signal, time
        import hydra
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            ctypes.CDLL(None).prctl(15, b"another")
            pathlib.Path(f"started-{cfg.x}").touch()
            while cfg.x == 1 and not os.path.exists("go"):
                time.sleep(0.05)
            return signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        main()
        """,
    )
    sweep = locally.start("+x=0,1,2", "hydra.launcher.slots=2", FORKED)
    wait_until((locally.folder / "started-1").exists)
    assert hpcorch("cancel", "last/1", "--yes").code == 0
    assert sweep.wait(timeout=60) == 1
    assert locally.states() == ["COMPLETED", "CANCELLED", "COMPLETED"]
    assert [run.result for run in locally.runs()] == [True, None, True]
    assert all(one.forked for one in claimed(locally))


@pytest.mark.parametrize("moment", ["before", "after_in_parent"])
def test_a_server_that_dies_as_it_forks_costs_the_runs_in_flight_and_the_others_go_on(locally, moment):
    write(
        locally,
        f"""
        import os, sys
        import hydra
        def die():
            if not os.path.exists("once"):
                open("once", "w").close()
                os.kill(os.getpid(), 9)
        if "--serve" in sys.orig_argv:
            if os.fork() == 0:  # what the server has left lives on
                os.setsid()
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", "5"])
                os._exit(0)
            os.wait()
            os.register_at_fork({moment}=die)
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return cfg.x
        main()
        """,
    )
    done = locally.launch("+x=0,1,2,3", "hydra.launcher.slots=1", FORKED)
    assert done.returncode == 1
    assert locally.states() == ["FAILED", "COMPLETED", "COMPLETED", "COMPLETED"]


def test_a_folder_that_the_program_has_made_is_there_for_all_runs_and_removed_after_them(locally):
    write(
        locally,
        """
        import pathlib, tempfile
        import hydra
        FOLDER = tempfile.TemporaryDirectory(dir=".")
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return pathlib.Path(FOLDER.name).is_dir()
        main()
        """,
    )
    assert locally.launch("+x=range(6)", FORKED).returncode == 0
    assert [run.result for run in locally.runs()] == [True] * 6
    assert all(one.forked for one in claimed(locally))
    assert list(locally.folder.glob("tmp*")) == []


def test_whatever_is_killed_each_run_ends_once_and_only_those_in_flight_are_repeated(locally):
    write(
        locally,
        """
        import os, time
        import hydra
        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            with open(f"ran-{cfg.x}", "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(0.05)
            return cfg.x
        main()
        """,
    )
    runs = 10 * KILLS
    sweep = locally.start(f"+x=range({runs})", "hydra.launcher.slots=4", "hydra.launcher.max_retries=50", FORKED)
    launcher, generator, killed = psutil.Process(sweep.pid), random.Random(1), 0
    while sweep.poll() is None:
        victims = launcher.children(recursive=True) if killed < KILLS else []
        if victims:
            generator.choice(victims).kill()
            killed += 1
        try:
            sweep.wait(timeout=0.3)
        except Exception:  # noqa: BLE001 - it goes on
            continue
    assert sweep.returncode == 0, locally.output
    assert [run.result for run in locally.runs()] == list(range(runs))
    assert set(locally.states()) == {"COMPLETED"}
    ends = Counter(a.run for a in locally.attempts() if a.state.value == "COMPLETED")
    assert set(ends.values()) == {1}
    repeated = sum(a.state.value != "COMPLETED" for a in locally.attempts())
    assert repeated <= 5 * killed  # a server takes the runs of its four slots with it
    assert len(list(Path(locally.folder).glob("ran-*"))) == runs
