"""`hpcorch exec` as real processes: what the command gets, what is recorded, in a job and outside of Slurm."""

from __future__ import annotations

import json
import math
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.model import events as ev
from hpcorch.model.states import AttemptState, RunState
from hpcorch.model.values import same
from tests.support import processes
from tests.support.exec_project import PROGRAM, Project, environment, job, of_kind, script_sweep
from tests.support.waiting import wait_until

PYTHON = sys.executable
SHOW = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('HPCORCH_')}))"
# Says that it is ready, and on SIGTERM that it was told; then ends with 3. It writes without a buffer: a handler
# that runs while "ready" is still being flushed could not print (RuntimeError: reentrant call, exit code 1).
PATIENT = """
import os, signal, sys, time
def told(number, frame):
    os.write(1, f"told {signal.Signals(number).name}\\n".encode())
    sys.exit(3)
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGHUP, told)
os.write(1, b"ready\\n")
time.sleep(600)
"""
# The same, ready within milliseconds.
SWIFT = "trap 'echo told SIGTERM; kill $!; exit 3' TERM; echo ready; sleep 60 >/dev/null & wait"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, {"HOME": str(tmp_path.parent)})


def offered(project: Project, *options: str, **where: dict[str, str]) -> dict[str, str]:
    """The variables that a command is offered."""
    done = project.run(*options, "--", PYTHON, "-c", SHOW, **where)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def await_line(child: processes.Program, line: str) -> None:
    assert child.stdout is not None
    assert child.stdout.readline().strip() == line


# Outside of Slurm


def test_a_command_becomes_a_sweep_of_one_run_that_ends_as_it_does(project):
    assert project.run("--", "sh", "-c", "exit 7").returncode == 7
    run, attempts = project.recorded()
    assert (run.state, run.exit_code, run.reason) == (RunState.FAILED, 7, "it ended with exit code 7")
    assert [attempt.state for attempt in attempts] == [AttemptState.FAILED]
    started, ended = of_kind(project.facts(), ev.CommandStarted), of_kind(project.facts(), ev.CommandEnded)
    assert [fact.argv for fact in started] == [["sh", "-c", "exit 7"]]
    assert [fact.exit_code for fact in ended] == [7]


def test_a_command_that_ends_well_completes_its_run(project):
    assert project.run("--", "true").returncode == 0
    run, _ = project.recorded()
    assert (run.state, run.exit_code) == (RunState.COMPLETED, 0)


def test_the_command_finds_its_seed_and_directories_in_its_environment(project):
    found = offered(project)
    run, _ = project.recorded()
    assert found["HPCORCH_RUN"] == f"{run.sweep}/0"
    assert found["HPCORCH_SWEEP"] == run.sweep
    assert found["HPCORCH_ATTEMPT"] == "0.s0.r0"
    assert int(found["HPCORCH_SEED"]) == run.seed
    assert found["HPCORCH_RUN_DIR"] == str(project.path)
    assert Path(found["HPCORCH_CHECKPOINT_DIR"]).is_dir()
    assert found["HPCORCH_RESUME"] == ""


def test_streams_are_the_commands_own(project):
    script = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('oh')"
    done = project.run("--", PYTHON, "-c", script, stdin="here\n")
    assert (done.stdout, done.stderr) == ("HERE\n", "oh")


def test_files_that_the_caller_opened_reach_the_command(project):
    reading, writing = os.pipe()
    os.write(writing, b"through\n")
    os.close(writing)
    child = project.start("--", "cat", f"/dev/fd/{reading}", pass_fds=[reading])
    assert child.communicate(timeout=120)[0] == "through\n"
    os.close(reading)


@pytest.mark.parametrize("refusing", ["scripts", "inbox"])
def test_where_nothing_can_be_recorded_nothing_is_executed_and_the_exit_code_says_why(project, refusing):
    state = project.path / ".hpcorch"
    state.mkdir()
    (state / refusing).touch()  # so that no folder can be made there
    done = project.run("--", "touch", "executed")
    assert done.returncode == 3
    assert "nothing was submitted or executed" in done.stderr
    assert not (project.path / "executed").exists()


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./plain.txt", 126)])
def test_what_cannot_be_started_ends_as_a_shell_has_it(project, program, code):
    (project.path / "plain.txt").write_text("no program")
    done = project.run("--", program)
    assert done.returncode == code
    assert f"hpcorch: {program} cannot be started" in done.stderr
    assert "Traceback" not in done.stderr
    run, _ = project.recorded()
    assert (run.state, run.exit_code) == (RunState.FAILED, code)


def test_options_of_the_command_are_not_ours(project):
    done = project.run("echo", "--name", "x", "--", "-h", "--result")
    assert done.stdout == "--name x -- -h --result\n"


def test_hostile_arguments_arrive_byte_for_byte(project):
    dice = random.Random(7)
    pieces = [
        b"'",
        b'"',
        b"\n",
        b"*",
        b"$(reboot)",
        b"`id`",
        b"--",
        b"-",
        b"\\",
        b" ",
        "日本é".encode(),
        b"\xff\xfe",
        b"%s",
    ]
    arguments = [b"".join(dice.choices(pieces, k=dice.randrange(0, 12))) for _ in range(980)]
    arguments += [b"-x", b"--", b"--name", b"", b"\xff" * 10_000, *([b"'\"$\n*" * 2_000] * 4)]
    arguments += [b"%d" % n for n in range(1000 - len(arguments))]
    show = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    child = project.start("--", PYTHON, "-c", show, *arguments, text=False)
    output, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    assert output.split(b"\0") == arguments
    recorded = of_kind(project.facts(), ev.CommandStarted)[0].argv[3:]
    assert [os.fsencode(word) for word in recorded] == arguments
    assert project.recorded()[0].state is RunState.COMPLETED


def test_a_signal_is_passed_on_and_the_end_is_a_cancellation(project):
    child = project.start("--", PYTHON, "-c", PATIENT)
    await_line(child, "ready")
    child.terminate()
    output, _ = child.communicate(timeout=120)
    assert (output, child.returncode) == ("told SIGTERM\n", 3)
    run, attempts = project.recorded()
    assert (run.state, run.exit_code, run.reason) == (RunState.CANCELLED, 3, "stopped by SIGTERM")
    assert attempts[0].signal == "SIGTERM"


def test_a_command_that_a_signal_ends_is_told_of_as_a_shell_does(project):
    done = project.run("--", "sh", "-c", "kill -USR1 $$")
    assert done.returncode == 128 + signal.SIGUSR1
    run, attempts = project.recorded()
    assert (run.state, run.reason, attempts[0].signal) == (RunState.FAILED, "killed by SIGUSR1", "SIGUSR1")


def test_a_command_that_does_not_end_in_time_is_killed_with_what_it_started(project):
    stubborn = "trap '' TERM; sleep 60 & echo ready; wait; sleep 60"
    child = project.start("--grace", "0.2", "--", "sh", "-c", stubborn)
    await_line(child, "ready")
    child.terminate()
    _, errors = child.communicate(timeout=120)  # nothing holds the pipe any more
    assert child.returncode == 128 + signal.SIGKILL
    assert "did not end in time" in errors


def test_what_the_caller_ignores_stays_ignored(project):
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    show = (
        "import signal; print(signal.getsignal(signal.SIGHUP).name, signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    child = project.start("--", PYTHON, "-c", show, preexec_fn=ignore)
    output, _ = child.communicate(timeout=120)
    assert output == "SIG_IGN set()\n"


def test_the_command_does_not_outlive_exec(project):
    child = project.start("--", PYTHON, "-c", PATIENT)
    await_line(child, "ready")
    child.kill()
    output, _ = child.communicate(timeout=120)  # the pipe is closed when the command has ended
    assert output == "told SIGTERM\n"
    run, _ = project.recorded()
    assert (run.state, run.reason) == (RunState.CANCELLED, "the launching process ended before the run did")


def test_results_are_read_from_json(project):
    done = project.run("--result", "out.json", "--", "sh", "-c", """echo '{"loss": 0.5, "x": NaN}' > out.json""")
    assert done.returncode == 0
    run, _ = project.recorded()
    assert same(run.result, {"loss": 0.5, "x": math.nan})


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        ("true", "is older than the command"),
        ("rm out.json", "did not write it"),
        ("echo '{' > out.json", "not valid JSON"),
        ("head -c 40000 /dev/zero > out.json", "more than 32768 bytes"),
        ("rm out.json; mkfifo out.json", "not a regular file"),
    ],
)
def test_a_result_that_cannot_be_had_is_told_and_changes_no_exit_code(project, write, sentence):
    (project.path / "out.json").write_text('{"old": 1}')
    done = project.run("--result", "out.json", "--", "sh", "-c", write)
    assert done.returncode == 0
    assert sentence in done.stderr
    assert sentence in of_kind(project.facts(), ev.CommandEnded)[0].problem
    run, _ = project.recorded()
    assert (run.state, run.result) == (RunState.COMPLETED, None)
    assert sentence in run.reason


# In a job that hpcorch did not submit


def test_a_requeued_job_goes_on_with_the_same_run(project):
    save = 'touch "$HPCORCH_CHECKPOINT_DIR/step-1"; echo "$HPCORCH_SEED $HPCORCH_ATTEMPT $HPCORCH_RESUME"'
    first = project.run("--", "sh", "-c", save, job=job(41)).stdout.split()
    again = project.run("--", "sh", "-c", save, job=job(41, restart=1))
    second = again.stdout.split()
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("0.s0.r0", "0.s0.r1")
    assert len(first) == 2  # nothing to go on from
    assert Path(second[2]).name == "step-1"
    assert "has completed this command before the job was requeued" in again.stderr
    run, attempts = project.recorded()
    assert (run.state, run.job_id, len(attempts)) == (RunState.COMPLETED, "41", 2)


def test_equal_commands_of_a_job_are_runs_of_their_own_in_their_order(project):
    seeds = [offered(project, job=job(41))["HPCORCH_SEED"] for _ in range(2)]
    other = offered(project, job=job(42))["HPCORCH_SEED"]
    again = [offered(project, job=job(41, restart=1))["HPCORCH_SEED"] for _ in range(2)]
    assert seeds == again
    assert len({*seeds, other}) == 3
    assert len(project.sweeps()) == 3


def test_equal_commands_at_once_do_not_share_a_run(project):
    children = [project.start("--", PYTHON, "-c", SHOW, job=job(41)) for _ in range(4)]
    seeds = {json.loads(child.communicate(timeout=120)[0])["HPCORCH_SEED"] for child in children}
    assert len(seeds) == len(project.sweeps()) == 4


def test_an_element_of_an_array_is_the_run_of_its_index(project):
    found = offered(project, job=job(48, index=7, array=41))
    assert found["HPCORCH_RUN"].endswith("/7")
    assert found["HPCORCH_ATTEMPT"] == "7.s0.r0"
    run, _ = project.recorded()
    assert (run.run, run.job_id, run.params, run.state) == (7, "41_7", {"task": 7}, RunState.COMPLETED)


def test_a_job_that_is_cut_short_leaves_the_end_to_slurm(project):
    child = project.start("--", PYTHON, "-c", PATIENT, job=job(41))
    await_line(child, "ready")
    child.terminate()
    child.communicate(timeout=120)
    end = of_kind(project.facts(), ev.AttemptEnded)[0]
    assert (end.outcome, end.signal, end.exit_code) == ("stopped", "SIGTERM", 3)
    assert project.recorded()[0].state is RunState.UNCERTAIN


def test_the_ranks_of_a_step_are_one_run(project):
    step = {**job(41), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3"}
    ranks = [project.start("--", PYTHON, "-c", SHOW, job={**step, "SLURM_PROCID": str(n)}) for n in (2, 1, 0)]
    told = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert told[0] == told[1] == told[2]
    assert [rank.returncode for rank in ranks] == [0, 0, 0]
    assert len(of_kind(project.facts(), ev.CommandStarted)) == 1


# In a job of `hpcorch sbatch`


def test_commands_of_a_recorded_script_are_steps_of_its_attempt(project):
    layout, exported = script_sweep(project, job_id="41")
    variables = {**exported, **job(41)}
    found = offered(project, job=variables)
    project.run("--", "sh", "-c", "exit 3", job=variables)
    facts = project.facts(sweep=layout)
    assert [type(fact).__name__ for fact in facts] == [
        "AttemptClaimed",
        *("CommandStarted", "CommandEnded") * 2,
    ]
    assert [fact.step for fact in of_kind(facts, ev.CommandEnded)] == [0, 1]
    assert [fact.exit_code for fact in of_kind(facts, ev.CommandEnded)] == [0, 3]
    assert len(project.sweeps()) == 1
    run, _ = project.recorded()
    assert found["HPCORCH_SEED"] == str(run.seed)
    assert run.state is RunState.RUNNING  # Slurm tells how a script ends


def test_show_tells_the_commands_of_a_script(project):
    _, exported = script_sweep(project, job_id="41")
    for words in (["sh", "-c", "exit 3"], ["./not here"]):
        project.run("--", *words, job={**exported, **job(41)})
    project.recorded()
    shown = project.hpcorch("show", "last/0").stdout
    assert re.search(r"s0\.r0 step 0: exit code 3 after \S+\n +sh -c 'exit 3'\n", shown)
    assert re.search(
        r"s0\.r0 step 1: exit code 127 after \S+\n +'./not here'\n +./not here cannot be started", shown
    )
    told = json.loads(project.hpcorch("show", "last/0", "--json").stdout)["commands"]
    assert [(one["step"], one["exit_code"], one["argv"]) for one in told] == [
        (0, 3, ["sh", "-c", "exit 3"]),
        (1, 127, ["./not here"]),
    ]
    assert "cannot be started" in told[1]["problem"]


def test_the_record_has_how_exec_was_called(project):
    _, exported = script_sweep(project, job_id="41")
    flags = ["--requeue", "--grace=9", "--signal-delay=40"]
    project.run(*flags, "--", "printf", "a\nb", job={**exported, **job(41)})
    project.recorded()
    shown = project.hpcorch("show", "last/0").stdout
    assert "hpcorch exec --requeue --grace=9 --signal-delay=40 -- printf $'a\\nb'\n" in shown
    told = json.loads(project.hpcorch("show", "last/0", "--json").stdout)["commands"][0]
    assert (told["flags"], told["argv"]) == (flags, ["printf", "a\nb"])


def test_a_sweep_of_a_command_has_its_whole_call_and_the_same_name_whatever_the_flags(project):
    called = "hpcorch exec --name=it -- sh -c $'true\\n'"
    for flags in ([], ["--grace", "5"]):
        project.run("--name", "it", *flags, "--", "sh", "-c", "true\n", job=job(41, restart=len(flags)))
    project.recorded()
    assert len(project.sweeps()) == 1
    assert called in project.hpcorch("show", "last").stdout


def test_a_result_that_is_missing_is_told_by_status_show_and_audit(project):
    assert project.run("--result", "out.json", "--", "true").returncode == 0
    run, _ = project.recorded()
    assert run.state is RunState.COMPLETED
    sentence = "there is no result in"
    for words in (["status"], ["show", "last/0"]):
        done = project.hpcorch(*words)
        assert (done.returncode, sentence in done.stdout) == (0, True), done
    audited = project.hpcorch("audit", "last")
    assert (audited.returncode, sentence in audited.stdout) == (1, True), audited


def test_a_step_of_a_script_without_its_result_is_a_finding(project):
    _, exported = script_sweep(project, job_id="41")
    for words in (["--", "true"], ["--result", "out.json", "--", "sh", "-c", "echo { > out.json"]):
        project.run(*words, job={**exported, **job(41)})
    project.recorded()
    assert "not valid JSON" in project.hpcorch("show", "last/0").stdout
    findings = json.loads(project.hpcorch("audit", "last", "--json").stdout)["findings"]
    warned = [one["text"] for one in findings if one["severity"] == "warning"]
    assert len(warned) == 1
    assert "command 1 of attempt s0.r0 ended with exit code 0" in warned[0]


def test_commands_of_a_script_may_run_at_once(project):
    layout, exported = script_sweep(project, job_id="41")
    children = [project.start("--", "sh", "-c", f"exit {n}", job={**exported, **job(41)}) for n in range(6)]
    codes = []
    for child in children:
        child.communicate(timeout=120)
        codes.append(child.returncode)
    assert codes == list(range(6))
    facts = project.facts(sweep=layout)
    assert len(of_kind(facts, ev.AttemptClaimed)) == 1
    assert sorted(fact.step for fact in of_kind(facts, ev.CommandStarted)) == list(range(6))
    steps = {fact.step: fact.argv[-1] for fact in of_kind(facts, ev.CommandStarted)}
    ends = {fact.step: f"exit {fact.exit_code}" for fact in of_kind(facts, ev.CommandEnded)}
    assert steps == ends


def test_a_torn_journal_is_cut_back_before_the_next_step(project):
    layout, exported = script_sweep(project, job_id="41")
    variables = {**exported, **job(41)}
    project.run("--", "true", job=variables)
    journal = layout.journals / "0.s0.r0.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"v":1,"seq":3,"ti')
    project.run("--", "true", job=variables)
    assert len(of_kind(project.facts(sweep=layout), ev.CommandEnded)) == 2


def test_an_element_of_a_recorded_array_is_its_run(project):
    layout, exported = script_sweep(project, job_id="41", indices=[3, 7])
    offered(project, job={**exported, **job(48, index=7, array=41, restart=2)})
    assert [path.name for path in layout.journals.iterdir()] == ["7.s0.r2.jsonl"]


def test_a_job_that_a_recorded_one_submitted_is_not_taken_for_it(project):
    layout, exported = script_sweep(project, job_id="41")
    offered(project, job={**exported, **job(42)})
    assert list(layout.journals.iterdir()) == []
    assert len(project.sweeps()) == 2


def test_a_job_that_starts_before_sbatch_has_its_answer_waits_for_it(project):
    layout, exported = script_sweep(project, job_id=None)
    child = project.start("--", "true", job={**exported, **job(41)})
    time.sleep(1)
    ControlJournal(layout).append(ev.SubmissionAccepted(submission=0, job_id="41"))
    child.communicate(timeout=120)
    assert of_kind(project.facts(sweep=layout), ev.CommandEnded)[0].exit_code == 0


def test_code_that_changed_since_the_submission_is_told_once_for_each_start(project):
    for name in ("same.py", "edited.py", "gone.py"):
        (project.path / name).write_text("x = 1\n")
    layout, exported = script_sweep(project, job_id="41")
    (project.path / "edited.py").write_text("x = 2\n")
    (project.path / "gone.py").unlink()
    first, second = (project.run("--", "true", job={**exported, **job(41)}) for _ in range(2))
    assert "drift of the code: edited.py, gone.py changed since" in first.stderr
    assert (first.returncode, second.stderr) == (0, "")
    found = of_kind(project.facts(sweep=layout), ev.DriftFound)
    assert [(fact.what, fact.policy, fact.after is None) for fact in found] == [
        ("file edited.py", "warn", False),
        ("file gone.py", "warn", True),
    ]


def test_the_result_of_a_step_is_the_scripts(project):
    layout, exported = script_sweep(project, job_id="41")
    project.run("--result", "r.json", "--", "sh", "-c", "echo 5 > r.json", job={**exported, **job(41)})
    assert of_kind(project.facts(sweep=layout), ev.CommandEnded)[0].result == 5
    assert project.recorded()[1][0].result == 5


# Near the time limit


@pytest.fixture
def scontrol(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scontrol that notes what it was asked, and ends the program that asked, as Slurm does."""
    folder = tmp_path_factory.mktemp("bin")
    asked = folder / "asked"
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {asked}\nkill -TERM $PPID\n')
    (folder / "scontrol").chmod(0o755)
    (folder / "squeue").write_text("#!/bin/sh\necho 0:06\n")
    (folder / "squeue").chmod(0o755)
    project.variables["PATH"] = f"{folder}:{os.environ['PATH']}"  # type: ignore[index]
    return asked


def test_a_job_is_requeued_near_its_time_limit(project, scontrol):
    child = project.start("--requeue", "--signal-delay", "3", "--", "sh", "-c", SWIFT, job=job(41))
    output, errors = child.communicate(timeout=120)
    assert (output, child.returncode) == ("ready\ntold SIGTERM\n", 3), errors
    assert scontrol.read_text() == "requeue 41\n"
    end = of_kind(project.facts(), ev.AttemptEnded)[0]
    assert (end.outcome, end.signal, end.reason) == ("stopped", "SIGUSR1", "its time limit was near")


def test_a_job_is_not_requeued_more_often_than_it_may(project, scontrol):
    stays_once = '[ -n "$SLURM_RESTART_COUNT" ] || exec sleep 60'
    arguments = ("--requeue", "--max-requeues", "1", "--signal-delay", "9", "--", "sh", "-c", stays_once)
    first = project.run(*arguments, job=job(48, index=7, array=41))
    again = project.run(*arguments, job=job(48, index=7, array=41, restart=1))
    assert scontrol.read_text() == "requeue 41_7\n"
    assert (first.returncode, again.returncode) == (128 + signal.SIGTERM, 0)
    assert "and is not requeued again" in again.stderr


# On a terminal


def on_a_terminal(project: Project, *arguments: str) -> tuple[int, int]:
    """Start it as a shell starts a job: in a process group of its own, which has the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project.path)
        os.execve(PYTHON, [*PROGRAM, *arguments], environment(**project.variables))
    return child, terminal


def read_until(terminal: int, text: str) -> str:
    shown = ""
    while text not in shown:
        shown += os.read(terminal, 4096).decode()
    return shown


COUNTING = """
import os, signal, sys, time
count = 0
def told(number, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, told)
os.write(1, f"ready {sys.stdin.isatty()}\\n".encode())
line = input()
time.sleep(0.3)
print("interrupted", count, line, flush=True)
"""


def test_ctrl_c_reaches_an_interactive_command_once(project):
    child, terminal = on_a_terminal(project, "--", PYTHON, "-c", COUNTING)
    read_until(terminal, "ready True")
    os.write(terminal, b"\x03")
    read_until(terminal, "^C")
    os.write(terminal, b"go on\n")
    read_until(terminal, "interrupted 1 go on")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    assert project.recorded()[0].state is RunState.COMPLETED


def test_ctrl_c_that_ends_the_command_cancels_its_run(project):
    child, terminal = on_a_terminal(project, "--", "sh", "-c", "echo ready; exec sleep 60")
    read_until(terminal, "ready")
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    os.close(terminal)
    run, _ = project.recorded()
    assert (run.state, run.reason) == (RunState.CANCELLED, "stopped by SIGINT")


ASKING = "echo ready; read line; echo went on"


def test_a_command_is_suspended_and_goes_on_with_exec(project):
    # In a process group of its own, as a shell starts it: the tests' own may be an orphaned one.
    child = project.start("--", "sh", "-c", ASKING, stdin=subprocess.PIPE, preexec_fn=os.setpgrp)
    await_line(child, "ready")
    child.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    (below,) = psutil.Process(child.pid).children()
    wait_until(lambda: below.status() == psutil.STATUS_STOPPED)
    child.send_signal(signal.SIGCONT)
    output, _ = child.communicate("x\n", timeout=120)
    assert (output, child.returncode) == ("went on\n", 0)


def test_exec_is_not_suspended_beside_a_command_that_goes_on(project):
    """As in a job of Slurm, which no shell would continue: the kernel keeps SIGTSTP from such a process group."""
    child = project.start("--", "sh", "-c", ASKING, stdin=subprocess.PIPE, start_new_session=True)
    await_line(child, "ready")
    child.send_signal(signal.SIGTSTP)
    output, _ = child.communicate("x\n", timeout=120)
    assert (output, child.returncode) == ("went on\n", 0)


# Signals at any time

TOLD = [PYTHON, "-c", "import os; os.write(2, b'begun'); from hpcorch.cli.main import main; main()", "exec"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_at_any_time_ends_exec_as_a_shell_has_it_and_leaves_no_attempt_open(project, name):
    number = signal.Signals[name]
    for delay_s in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6):
        child = processes.start(
            [*TOLD, "--", "sleep", "60"],
            cwd=project.path,
            env=environment(**project.variables),
            stderr=subprocess.PIPE,
        )
        assert child.stderr is not None
        assert child.stderr.read(5) == b"begun"
        time.sleep(delay_s)
        child.send_signal(number)
        _, errors = child.communicate(timeout=120)
        assert child.returncode in (128 + number, -number), (delay_s, errors)
        assert child.returncode == -number or b"Traceback" not in errors
    for journal in (project.path / ".hpcorch").glob("scripts/*/.hpcorch/journals/*.jsonl"):
        (layout,) = [one for one in project.sweeps() if one.journals == journal.parent]
        assert isinstance(project.facts(sweep=layout)[-1], ev.AttemptEnded)


# Leases


@pytest.fixture
def leased(project: Project) -> Project:
    """A project whose profile has one slot of ``disk``."""
    (project.path / "tickets").mkdir()
    (project.path / ".hpcorch").mkdir()
    (project.path / ".hpcorch" / "site.yaml").write_text(
        "resources:\n"
        f"  disk: {{capacity: 1, enforced: lease, directory: {project.path / 'tickets'}, expiry_s: 30}}\n"
    )
    return project


def stages(facts: list[ev.Fact]) -> list[str]:
    return [fact.stage for fact in of_kind(facts, ev.LeaseReported)]


def test_a_lease_is_held_while_the_command_runs(leased):
    assert leased.run("--lease", "disk", "--", "true").returncode == 0
    facts = leased.facts()
    assert stages(facts) == ["held", "released"]
    kinds = [fact.kind for fact in facts]
    assert kinds.index("lease-reported") < kinds.index("command-started")
    assert kinds[-2:] == ["command-ended", "attempt-ended"]


def test_who_waits_for_a_lease_can_be_stopped(leased):
    first = leased.start("--lease", "disk=1", "--", PYTHON, "-c", PATIENT)
    await_line(first, "ready")
    second = leased.start("--lease", "disk", "--", "echo", "never")
    wait_until(lambda: any(map(_waits, leased.sweeps())))
    second.terminate()
    output, _ = second.communicate(timeout=120)
    assert (output, second.returncode) == ("", 128 + signal.SIGTERM)
    first.terminate()
    first.communicate(timeout=120)
    ends = {leased.facts(sweep=sweep)[-1].reason for sweep in leased.sweeps()}
    assert ends == {None, "stopped by SIGTERM before the command started"}
    assert leased.run("--lease", "disk", "--", "true").returncode == 0  # nothing is left of it


def test_a_lease_that_is_lost_is_told_and_the_command_goes_on(leased):
    profile = leased.path / ".hpcorch" / "site.yaml"
    profile.write_text(profile.read_text().replace("expiry_s: 30", "expiry_s: 6"))
    until_told = 'until grep -qs \'"stage":"lost"\' .hpcorch/scripts/*/.hpcorch/journal/*; do sleep 0.1; done'
    child = leased.start("--lease", "disk", "--", "sh", "-c", f"echo ready; {until_told}")
    await_line(child, "ready")
    for ticket in (leased.path / "tickets").iterdir():
        ticket.unlink()
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 0
    assert errors.count("was lost") == 1
    assert "The command goes on" in errors
    assert stages(leased.facts()) == ["held", "lost", "over-held"]


def _waits(sweep: SweepLayout) -> bool:
    journal = sweep.journals / "0.s0.r0.jsonl"
    return journal.exists() and '"stage":"waiting"' in journal.read_text()


def test_a_lease_of_what_something_else_enforces_says_who_does_and_how_to_ask(leased):
    (leased.path / ".hpcorch" / "site.yaml").write_text(
        "resources:\n"
        "  scratch: {capacity: 2, enforced: license}\n"
        "  readers: {capacity: 2, enforced: throttle}\n"
        "  gpus: {capacity: 2, enforced: system, kind: gpu}\n"
    )
    for asked, words in (
        ("scratch", "licences of Slurm enforce scratch, so request it with the job: `hpcorch sbatch"),
        ("readers", "throttles of arrays enforce readers, so request it with the job: `hpcorch sbatch"),
        ("gpus", "gpus cannot be leased, because the system itself allocates it"),
        ("tape", "has no such resource"),
    ):
        done = leased.run("--lease", asked, "--", "true")
        assert done.returncode == 2
        assert words in done.stderr
        assert "none of its resources is enforced by leases" in done.stderr


@pytest.mark.parametrize(
    ("asked", "words"),
    [("tape", "has no such resource; leases enforce disk"), ("disk=2", "ask for 1 to 1")],
)
def test_a_lease_that_cannot_be_had_is_refused_before_anything_is_recorded(leased, asked, words):
    done = leased.run("--lease", asked, "--", "true")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (leased.path / ".hpcorch" / "scripts").exists()
