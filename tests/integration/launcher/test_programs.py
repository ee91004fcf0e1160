"""A job is the program: what a program does before its function, around it and after it is as under plain Hydra."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from hpcorch.ledger.store import Ledger
from hpcorch.model.events import AttemptVerified, DriftFound
from hpcorch.model.states import RunState
from tests.support import processes
from tests.support.apps import App
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

LAUNCH = ("-m", "hydra/launcher=hpcorch_local")
NO_WARNING = "ignore:The version_base parameter"  # of Hydra 1.4


@pytest.fixture
def project(tmp_path) -> App:
    (tmp_path / "project").mkdir()
    return App(folder=tmp_path / "project", launcher="hpcorch_local")


def write(app: App, **files: str) -> None:
    for name, text in files.items():
        path = app.folder / (name.replace("__", "/").replace("_py", ".py") if name.endswith("_py") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


def python(app: App, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=app.folder,
        env={**os.environ, **environ},
        text=True,
        capture_output=True,
        timeout=120,
    )


def results(app: App, *words: str, **environ: str) -> list[object]:
    done = python(app, *words, **environ)
    assert done.returncode == 0, done.stderr
    return [run.result for run in app.runs()]


def entries(app: App) -> set[tuple[str | None, str | None]]:
    with Ledger.open(app.ledger) as ledger:
        found = ledger.events(ledger.sweep("last").sweep.id, kinds=[AttemptVerified.kind])
    return {(event.fact.entry, event.fact.entry_problem) for event in found}


STATE = """
    import argparse, datetime, decimal, multiprocessing, sys, threading, uuid
    import hydra

    LOCK = threading.Lock()  # cannot be pickled
    STARTED = f"at {datetime.datetime.now().isoformat()}"
    NAMES = {"id": uuid.uuid4().hex, "cpus": len(STARTED)}

    class Model:
        scale = 1

    def loss(x):
        return x

    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=int, default=1)
    args, sys.argv[1:] = parser.parse_known_args()

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        made = hydra.utils.instantiate({"_target_": "__main__.Model"})
        with LOCK:
            return {
                "values": [Model.scale * cfg.x, loss(cfg.x), args.scale * cfg.x, type(made) is Model],
                "process": [
                    multiprocessing.get_start_method(), str(decimal.Decimal(1) / 3), sys.getrecursionlimit(),
                    __debug__, sys.flags.dev_mode,
                ],
                "drawn": [STARTED, NAMES],
                "argv": sys.argv[1:],
            }

    if __name__ == "__main__":
        Model.scale = 5
        loss = lambda x: -x
        multiprocessing.set_start_method("spawn")
        decimal.getcontext().prec = 6
        sys.setrecursionlimit(5000)
        main()
"""


def test_all_that_a_program_does_before_it_calls_its_function_holds_in_the_job(project):
    write(project, app_py=STATE)
    first, second = results(project, "-OX", "dev", "app.py", "--scale", "7", *LAUNCH, "+x=1,2", "+y=3")
    assert first["values"] == [5, -1, 7, True]
    assert second["values"] == [10, -2, 14, True]
    assert first["process"] == second["process"] == ["spawn", "0.333333", 5000, False, True]
    assert first["drawn"] == second["drawn"], "all runs of a sweep share a time stamp and an id"
    assert second["argv"] == ["hydra/launcher=hpcorch_local", "+x=2", "+y=3"]
    assert entries(project) == {("program", None)}


PACKAGE = """
    import sys
    from pathlib import Path
    import hydra
    from .words import WORD

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        return [cfg.x, __name__, WORD, Path(__file__).name, sys.argv[1:]]

    if __name__ == "__main__":
        main()
"""


def in_package(app: App) -> None:
    write(app, pkg____init___py="", pkg__words_py="WORD = 'word'\n", pkg__train_py=PACKAGE)
    (app.folder / "pkg" / "__init__.py").write_text("")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["-m", "pkg.train"], "__main__"),
        (["bin/train"], "pkg.train"),
        (["-m", "cProfile", "-o", "profile", "bin/train"], "pkg.train"),
        (["folder"], "pkg.train"),
    ],
)
def test_a_module_a_console_script_a_folder_and_a_program_behind_a_profiler_are_alike(project, words, name):
    in_package(project)
    script = "import sys\nsys.path.insert(0, '.')\nfrom pkg.train import main\nsys.exit(main())\n"
    for path in (project.folder / "bin" / "train", project.folder / "folder" / "__main__.py"):
        path.parent.mkdir()
        path.write_text(script)
    argv = ["hydra/launcher=hpcorch_local", "+x=1"]
    assert results(project, *words, *LAUNCH, "+x=1") == [[1, name, "word", "train.py", argv]]
    assert entries(project) == {("program", None)}


def test_each_sweep_of_a_program_with_several_gets_its_own_function_and_call(project):
    write(
        project,
        app_py="""
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def first(cfg):
            return ["first", cfg.x, call]

        @hydra.main(version_base=None, config_path=None)
        def second(cfg):
            return ["second", cfg.x, call]

        for call in range(2):
            first()
            second()
        """,
    )
    done = python(project, "app.py", *LAUNCH, "+x=1", "hydra.sweep.dir=${hydra.job.name}/${now:%f}")
    assert done.returncode == 0, done.stderr
    with Ledger.open(project.ledger) as ledger:
        sweeps = [one.sweep.id for one in ledger.sweeps()]
        found = sorted(run.result for sweep in sweeps for run in ledger.runs(sweep))
    assert found == [["first", 1, 0], ["first", 1, 1], ["second", 1, 0], ["second", 1, 1]]


def test_a_function_that_another_module_decorates_is_called_in_the_program(project):
    write(
        project,
        pkg__tools_py="""
        import hydra

        def started(function):
            return hydra.main(version_base=None, config_path=None)(lambda cfg: function(cfg))()
        """,
        app_py="""
        import hydra
        from pkg import tools

        class Net:
            def __init__(self, n):
                self.n = n

        tools.started(lambda cfg: hydra.utils.instantiate(cfg.net).n)
        """,
    )
    (project.folder / "pkg" / "__init__.py").write_text("")
    assert results(project, "app.py", *LAUNCH, "+net={_target_: __main__.Net, n: 3}") == [3]


def test_a_child_that_executes_the_arguments_composes_the_same(project):
    write(
        project,
        app_py="""
        import os, subprocess, sys
        import hydra
        from hydra.core.hydra_config import HydraConfig

        sys.argv.append("hydra.output_subdir=null")

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            if "RANK" in os.environ:
                return print("child", cfg.x, cfg.text)
            command = [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
            command.append(f'hydra.run.dir="{HydraConfig.get().runtime.output_dir}"')
            return subprocess.run(command, env={**os.environ, "RANK": "1"}, text=True, stdout=-1, check=True).stdout

        if __name__ == "__main__":
            main()
        """,
    )
    assert results(project, "app.py", *LAUNCH, "+x=1,2", "+text='a b'") == ["child 1 a b\n", "child 2 a b\n"]


def test_what_a_tracker_puts_in_the_place_of_sys_exit_learns_that_the_run_failed(project):
    write(
        project,
        app_py="""
        import atexit, sys
        import hydra

        code = 0

        def exit_hook(value=0, leave=sys.exit):
            global code
            code = value
            leave(value)

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            sys.exit = exit_hook
            atexit.register(lambda: open(f"tracker-{cfg.x}", "w").write(str(code)))
            if cfg.x == 2:
                raise ValueError("two")

        if __name__ == "__main__":
            main()
        """,
    )
    assert python(project, "app.py", *LAUNCH, "+x=1,2").returncode == 1
    assert [(project.folder / f"tracker-{x}").read_text() for x in (1, 2)] == ["0", "1"]


def test_a_process_that_the_task_forks_ends_as_in_any_program(project):
    write(
        project,
        app_py="""
        import os, sys
        import hydra

        def child(cfg):
            if cfg.x == 1:
                sys.exit(0)
            if cfg.x == 2:
                sys.exit(9)
            if cfg.x == 3:
                raise ValueError("in the child")

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            pid = os.fork()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else child(cfg)

        if __name__ == "__main__":
            main()
        """,
    )
    assert results(project, "app.py", *LAUNCH, "+x=1,2,3,4", PYTHONWARNINGS=NO_WARNING) == [0, 9, 1, 0]
    logs = [(project.layout().logs / f"s0_{n}.log").read_text() for n in range(4)]
    assert logs[0] == logs[1] == logs[3] == ""
    assert "ValueError: in the child" in logs[2]


def test_a_program_that_ends_before_its_function_is_a_failure_that_says_so(project):
    write(
        project,
        app_py="""
        import os, sys
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return cfg.x

        if "SUBMITIT_EXECUTOR" not in os.environ:
            main()
        elif "+x=2" in sys.argv:
            sys.exit("no such data")
        """,
    )
    assert python(project, "app.py", *LAUNCH, "+x=1,2").returncode == 1
    first, second = project.runs()
    assert first.state is second.state is RunState.FAILED
    assert "ended without calling __main__.main, which it called when it was launched" in (first.error or "")
    assert "no such data" in (second.error or "")
    log = (project.layout().logs / "s0_1.log").read_text()
    assert "this was before the call of __main__.main: a job executes the program from its beginning" in log


def test_a_program_that_catches_the_way_out_of_its_job_has_one_run_and_is_told(project):
    write(
        project,
        app_py="""
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            print("runs", cfg.x)
            return cfg.x

        for fold in range(2):
            try:
                main()
            except:
                print("caught", fold)
        """,
    )
    done = python(project, "app.py", *LAUNCH, "+x=1", "hydra.sweep.dir=${hydra.job.name}/${now:%f}")
    assert done.returncode == 0, done.stderr
    with Ledger.open(project.ledger) as ledger:
        found = sorted((run.state, run.result) for one in ledger.sweeps() for run in ledger.runs(one.sweep.id))
    assert found == [(RunState.COMPLETED, 1)] * 2
    for log in project.folder.glob("app/*/.hpcorch/logs/s0_0.log"):
        text = log.read_text()
        assert text.count("runs 1") == text.count("caught 0") + text.count("caught 1") == 1
        assert "what stands after the call of __main__.main was executed in this job, too" in text
        assert "Traceback" not in text


def test_the_function_alone_is_sent_where_that_is_asked_for_or_nothing_else_can_be(project):
    write(project, app_py="WORD = 'typed'\n" + dedent(PACKAGE).replace("from .words import WORD\n", ""))
    assert results(project, "app.py", *LAUNCH, "+x=1", "hydra.launcher.entry=function")[0][2] == "typed"
    assert entries(project) == {("function", "hydra.launcher.entry=function asks for it")}
    text = (project.folder / "app.py").read_text().replace("Path(__file__).name", "None")
    words = ("-c", text, *LAUNCH, "+x=1", "hydra.sweep.dir=other")
    assert results(project, *words)[0][2] == "typed"
    assert entries(project) == {("function", "its main module has no file")}
    refused = python(project, "app.py", *LAUNCH, "+x=1", "hydra.launcher.entry=both", "hydra.sweep.dir=third")
    assert "hydra.launcher.entry" in refused.stderr
    assert "program or function" in refused.stderr


FILES = """
    import concurrent.futures, importlib.resources, inspect, multiprocessing, subprocess, sys, time, traceback
    from pathlib import Path
    import hydra
    import helpers, space.part
    from pkg import words

    ROOT = Path(__file__).resolve().parent

    def raising():
        raise ValueError  # frozen line

    def word(_):
        import helpers
        return [WORD, helpers.WORD, helpers.__file__]

    WORD = "frozen main"

    @hydra.main(version_base=None, config_path=None)
    def main(cfg):
        (ROOT / f"started-{cfg.x}").touch()
        while not (ROOT / "go").exists():
            time.sleep(0.05)
        import late
        (ROOT / "results").mkdir(exist_ok=True)
        (ROOT / "results" / f"{cfg.x}.txt").write_text("done")
        try:
            raising()
        except ValueError:
            lines = traceback.format_exc()
        pools = {}
        for method in ("spawn", "forkserver"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                pools[method] = pool.map(word, [0])[0]
        child = "import helpers, late; print(helpers.WORD, late.WORD)"
        return {
            "words": [WORD, helpers.WORD, late.WORD, words.WORD, space.part.WORD],
            "files": [str(Path(one).relative_to(ROOT)) for one in (__file__, helpers.__file__, late.__file__)],
            "data": [
                (ROOT / "data.txt").read_text(),
                importlib.resources.files("pkg").joinpath("table.txt").read_text(),
                importlib.resources.files("space").joinpath("table.txt").read_text(),
            ],
            "source": ["frozen" in inspect.getsource(raising), "frozen line" in lines],
            "pools": pools,
            "child": subprocess.run([sys.executable, "-c", child], cwd=ROOT, text=True, stdout=-1).stdout.split(),
            "git": any((folder / ".git").exists() for folder in Path(__file__).parents),
        }

    if __name__ == "__main__":
        main()
"""


def test_code_is_frozen_and_files_are_where_the_program_has_them(project):
    write(
        project,
        app_py=FILES,
        helpers_py="WORD = 'frozen-helper'\n",
        late_py="WORD = 'frozen-late'\n",
        pkg__words_py="WORD = 'frozen-word'\n",
        space__part_py="WORD = 'frozen-part'\n",
    )
    (project.folder / "pkg" / "__init__.py").write_text("")
    for place in ("data.txt", "pkg/table.txt", "space/table.txt"):
        (project.folder / place).write_text("data")
    (project.folder / ".gitignore").write_text("data.txt\nresults/\nstarted-*\ngo\noutput.txt\n")
    subprocess.run(["git", "init", "-q", project.folder], check=True)
    sweep = project.start("+x=1")
    wait_until((project.folder / "started-1").exists)
    for path in project.folder.rglob("*.py"):
        path.write_text(path.read_text().replace("frozen", "edited"))
    (project.folder / "go").touch()
    assert sweep.wait(120) == 0, project.output
    (run,) = project.runs()
    helpers = str(project.folder / "helpers.py")
    assert run.result == {
        "words": ["frozen main", "frozen-helper", "frozen-late", "frozen-word", "frozen-part"],
        "files": ["app.py", "helpers.py", "late.py"],
        "data": ["data", "data", "data"],
        "source": [True, True],
        "pools": {method: ["frozen main", "frozen-helper", helpers] for method in ("spawn", "forkserver")},
        "child": ["frozen-helper", "frozen-late"],
        "git": True,
    }
    assert (project.folder / "results" / "1.txt").read_text() == "done"
    with Ledger.open(project.ledger) as ledger:
        assert ledger.events(run.sweep, kinds=[DriftFound.kind]) == []


def test_a_script_that_a_job_starts_by_its_path_and_that_is_not_the_frozen_one_is_recorded(
    project, hpcorch, monkeypatch
):
    write(
        project,
        child_py="print('child')\n",
        same_py="print('same')\n",
        app_py="""
        import pathlib, subprocess, sys
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            pathlib.Path("child.py").write_text("print('edited')\\n")
            pathlib.Path("new.py").write_text("import newer")
            pathlib.Path("newer.py").write_text("")
            for name in ("same.py", "new.py", "child.py", "child.py"):
                done = subprocess.run([sys.executable, name], text=True, capture_output=True)
            return [done.stdout, done.stderr]

        if __name__ == "__main__":
            main()
        """,
    )
    ((said, told),) = results(project, "app.py", *LAUNCH, "+x=1")
    assert said == "edited\n"
    assert "child.py was changed after submission, and this process executes it as it is now" in told
    with Ledger.open(project.ledger) as ledger:
        found = [event.fact for event in ledger.events(ledger.sweep("last").sweep.id, kinds=[DriftFound.kind])]
    assert [(one.what, one.severity) for one in found] == [
        ("script new.py", "note"),
        ("module newer", "major"),
        ("script child.py", "major"),
    ]
    said = (
        "it started scripts of the project that were not frozen: new.py (not in the snapshot), child.py (changed)"
    )
    monkeypatch.chdir(project.folder)
    assert said in hpcorch("show", "last/0").out
    assert said in hpcorch("audit", "last").out


def test_a_sitecustomize_of_the_site_is_executed_as_ever(project, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import os\nos.environ['SITE'] = 'here'\n")
    write(
        project,
        app_py="""
        import os, subprocess, sys
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            del os.environ["SITE"]
            child = "import os; print(os.environ['SITE'])"
            return subprocess.run([sys.executable, "-c", child], text=True, stdout=-1).stdout

        if __name__ == "__main__":
            main()
        """,
    )
    assert results(project, "app.py", *LAUNCH, "+x=1", PYTHONPATH=str(tmp_path / "site")) == ["here\n"]


def test_submitits_environment_and_no_checkpoint_to_resume_are_as_programs_expect(project):
    write(
        project,
        app_py="""
        import hydra, submitit

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            job = submitit.JobEnvironment()
            return [job.job_id != "", job.global_rank, job.local_rank, job.num_tasks, job.num_nodes, cfg.resume]

        if __name__ == "__main__":
            main()
        """,
    )
    assert results(project, "app.py", *LAUNCH, "+x=1", "+resume='${hpcorch:resume}'") == [[True, 0, 0, 1, 1, None]]


def test_a_seed_that_a_program_sets_before_its_function_is_not_set_again(project):
    write(
        project,
        app_py="""
        import random
        import hydra
        import numpy

        DRAWN = numpy.random.rand()
        random.seed(1)

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return [random.random(), DRAWN, numpy.random.rand()]

        if __name__ == "__main__":
            main()
        """,
    )
    words = ("app.py", *LAUNCH, "+x=1,2", "hydra.launcher.seed=3")
    first, second = results(project, *words)
    assert first[0] == second[0] == 0.13436424411240122, "the program's own seed"
    assert first[1] == second[1], "drawn once, when the sweep was launched"
    assert first[2] != second[2], "each run has a seed of its own"
    assert [one[2] for one in results(project, *words, "hydra.sweep.dir=again")] == [first[2], second[2]]


def test_a_console_script_that_was_changed_after_the_launch_is_refused(project, tmp_path):
    script = tmp_path / "train"
    script.write_text("import sys\nsys.path.insert(0, '.')\nfrom pkg.task import main\nmain()\n")
    write(
        project,
        pkg__task_py="""
        import pathlib, time
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            pathlib.Path("started").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.05)
        """,
    )
    (project.folder / "pkg" / "__init__.py").write_text("")
    launch = [sys.executable, str(script), *LAUNCH, "+x=1,2", "hydra.launcher.slots=1"]
    sweep = processes.start(launch, cwd=project.folder, stderr=subprocess.DEVNULL)
    wait_until((project.folder / "started").exists)
    script.write_text(script.read_text() + "print()\n")
    (project.folder / "go").touch()
    assert sweep.wait(120) == 1
    first, second = project.runs()
    assert (first.state, second.exit_code) == (RunState.COMPLETED, 75)
    assert "is not the one that was launched" in (second.reason or "")


def test_a_decorator_of_another_library_that_calls_hydra_itself_is_as_good(project):
    write(
        project,
        app_py="""
        from hydra._internal.utils import _run_hydra, get_args_parser

        def runner(function):
            def decorated():
                parser = get_args_parser()
                _run_hydra(
                    args=parser.parse_args(), args_parser=parser, task_function=function, config_path=None,
                    config_name=None,
                )
            return decorated

        @runner
        def main(cfg):
            return cfg.x

        try:
            main()
        finally:
            raise RuntimeError("on the way out")
        """,
    )
    assert "on the way out" in python(project, "app.py", *LAUNCH, "+x=1").stderr
    (run,) = project.runs()
    assert (run.state, run.result) == (RunState.COMPLETED, 1)
    assert "on the way out" in (project.layout().logs / "s0_0.log").read_text()


def test_a_sweep_that_a_job_launches_runs_the_code_that_it_finds(project):
    inner = """
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            import helpers
            return helpers.WORD

        if __name__ == "__main__":
            main()
    """
    write(
        project,
        inner_py=inner,
        helpers_py="WORD = 'first'\n",
        app_py="""
        import pathlib, subprocess, sys
        import hydra
        import hpcorch

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            pathlib.Path("helpers.py").write_text("WORD = 'second'\\n")
            command = [sys.executable, "inner.py", "-m", "hydra/launcher=hpcorch_local", "hydra.sweep.dir=inner"]
            subprocess.run(command, check=True, capture_output=True)

        if __name__ == "__main__":
            main()
        """,
    )
    assert python(project, "app.py", *LAUNCH, "hydra.sweep.dir=outer").returncode == 0
    with Ledger.open(project.ledger) as ledger:
        (found,) = [one for one in ledger.sweeps() if one.sweep.directory.endswith("inner")]
        assert [run.result for run in ledger.runs(found.sweep.id)] == ["second"]


def test_a_program_begins_where_it_was_started_and_goes_where_it_goes(project, tmp_path):
    (project.folder / "data").mkdir()
    (tmp_path / "link").symlink_to(project.folder)
    write(
        project,
        helpers_py="WORD = 'word'\n",
        app_py="""
        import os
        from pathlib import Path
        import hydra
        import helpers

        BEGAN = os.getcwd()
        os.chdir("data")

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return [BEGAN, os.getcwd(), hydra.utils.get_original_cwd(), __file__, helpers.__file__, helpers.WORD]

        if __name__ == "__main__":
            main()
        """,
    )
    folder = str(project.folder)
    inside = App(folder=project.folder / "data", launcher=project.launcher)
    assert python(project, "app.py", *LAUNCH, "hydra.sweep.dir=one").returncode == 0
    data = str(inside.folder)
    assert inside.runs()[0].result == [folder, data, data, f"{folder}/app.py", f"{folder}/helpers.py", "word"]
    assert python(project, "../link/app.py", *LAUNCH, "hydra.sweep.dir=two").returncode == 0
    began, *_, script, module, word = inside.runs()[0].result
    assert [began, script, module, word] == [folder, f"{folder}/../link/app.py", f"{folder}/helpers.py", "word"]
    assert entries(inside) == {("program", None)}


def test_variables_that_a_program_sets_are_those_of_the_launch_and_a_context_manager_sees_how_the_job_leaves(
    project,
):
    write(
        project,
        app_py="""
        import os, uuid
        import hydra

        os.environ.setdefault("GROUP", uuid.uuid4().hex)
        os.environ["LONGER"] = "a" + os.environ.get("LONGER", "")

        class Tracker:
            def __enter__(self):
                pass

            def __exit__(self, kind, error, trace):
                print("left by", repr(error))

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return [os.environ["GROUP"], os.environ["LONGER"]]

        with Tracker():
            main()
        """,
    )
    first, second = results(project, "app.py", *LAUNCH, "+x=1,2")
    assert first == second == [first[0], "aa"]
    assert "left by SystemExit(0)" in (project.layout().logs / "s0_0.log").read_text()


def test_a_program_may_fork_before_its_call_and_be_without_streams(project):
    write(
        project,
        sitecustomize_py="WORD = 'own'\n",
        app_py="""
        import os, sys
        import hydra

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            return [cfg.x, own, sys.modules["sitecustomize"].WORD]

        if os.fork():
            os.wait()
            own = sys.argv.pop(1)
            sys.stdout = sys.stderr = None
            main()
        """,
    )
    environ = {"PYTHONPATH": str(project.folder), "PYTHONWARNINGS": NO_WARNING}
    found = results(project, "app.py", "-m", *LAUNCH, "+x=1", **environ)
    assert found == [[1, "-m", "own"]]
    assert entries(project) == {("program", None)}
    assert not any(log.read_text() for log in project.folder.glob("multirun/*/*/.hpcorch/logs/*"))


def test_of_a_call_in_a_process_that_the_program_has_forked_the_function_is_sent(project):
    write(
        project,
        app_py="""
        import multiprocessing, os, sys
        from pathlib import Path
        import hydra

        class Model:
            def __init__(self, size): self.size = size

        def double(x):
            return 2 * x

        @hydra.main(version_base=None, config_path=None)
        def main(cfg):
            made = hydra.utils.instantiate(cfg.model)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                doubled = pool.map(double, [cfg.x])
            return [made.size, type(made) is Model, doubled, [Path(sys.argv[0]).name, *sys.argv[2:]]]

        if __name__ == "__main__":
            if os.fork():
                raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
            main()
        """,
    )
    model = "+model={_target_: __main__.Model, size: 3}"
    assert results(project, "app.py", *LAUNCH, "+x=1", model) == [
        [3, True, [2], ["app.py", "+x=1", "+model={_target_:__main__.Model,size:3}"]]
    ]
    assert entries(project) == {("function", "a process that the program had forked has called it")}
