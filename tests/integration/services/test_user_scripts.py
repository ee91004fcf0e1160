"""``hpcorch sbatch`` on a pretended Slurm: what it prints and leaves, and that a job is on record whatever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import hpcorch
from hpcorch import tunables
from hpcorch.errors import SlurmUnavailableError, UsageError
from hpcorch.journal.archives import open_archive
from hpcorch.slurm.client import sbatch_program
from tests.support import processes
from tests.support.fake_cluster import FakeCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

HPCORCH = str(Path(sys.executable).with_name("hpcorch"))

SCRIPT = '#!/bin/bash\n#SBATCH --job-name=mine\necho "here: $*"\nexit ${CODE:-0}\n'


@dataclass(frozen=True)
class Project:
    """A folder with a script in it."""

    folder: Path
    cluster: FakeCluster

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HPCORCH, *words],
            cwd=cwd or self.folder,
            env={**os.environ, **(env or {})},
            text=True,
            capture_output=True,
            timeout=120,
            **options,  # type: ignore[call-overload]
        )

    def sbatch(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        return self.run("sbatch", *words, **options)  # type: ignore[arg-type]

    def shown(self, *words: str) -> object:
        done = self.run(*words, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def sweeps(self) -> list[str]:
        folder = self.folder / ".hpcorch/scripts"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def waiting(self) -> list[str]:
        folder = self.folder / ".hpcorch/inbox"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def states(self) -> list[str]:
        return [run["state"] for run in self.shown("status", "last", "--refresh")["runs"]]  # type: ignore[index]

    def submissions(self) -> list[Mapping[str, object]]:
        """What the control journals say of submissions."""
        found = []
        for sweep in self.sweeps():
            journal = self.folder / ".hpcorch/scripts" / sweep / ".hpcorch/control.jsonl"
            if journal.exists():  # else its command was stopped before there was a record
                found += [json.loads(line) for line in journal.read_text().splitlines()]
        return [event for event in found if event["kind"].startswith("submission-")]


@pytest.fixture
def project(cluster: FakeCluster, tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "job.sh").write_text(SCRIPT)
    return Project(folder=folder, cluster=cluster)


@pytest.mark.parametrize(
    ("flags", "printed"),
    [([], "Submitted batch job 1\n"), (["--parsable"], "1\n"), (["-Q"], ""), (["--quiet", "--parsable"], "")],
)
def test_it_prints_what_sbatch_prints(project, flags, printed):
    done = project.sbatch(*flags, "job.sh", "a b")
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    project.cluster.wait_until_idle()
    (run,) = project.shown("status", "last", "--refresh")["runs"]
    assert (run["job_id"], run["state"]) == ("1", "COMPLETED")


def test_a_secret_of_the_command_line_is_nowhere_on_record(project):
    assert project.sbatch("--export=ALL,API_TOKEN=hunter22", "job.sh").returncode == 0
    project.cluster.wait_until_idle()
    assert project.states() == ["COMPLETED"]
    written = [path for path in project.folder.rglob("*") if path.is_file()]
    assert [path for path in written if b"hunter22" in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("site", "state"),
    [({}, "COMPLETED"), ({"COMMENTS": "x"}, "COMPLETED"), ({"COMMENTS": "x", "ACCOUNTING": "none"}, "UNCERTAIN")],
    ids=["the comment", "the command line", "nothing"],
)
def test_the_job_of_a_script_is_the_one_that_shows_its_token(project, monkeypatch, tune, site, state):
    tune(TOKEN_APPEARS_S=0.0)
    for name, value in site.items():
        monkeypatch.setenv(f"FAKE_SLURM_{name}", value)
    folder = project.folder.parent / "wrapper"
    folder.mkdir()
    (folder / "sbatch").write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]}\nsbatch "$@" >&2\necho 1\n')
    (folder / "sbatch").chmod(0o755)
    subprocess.run(["sbatch", "--hold", "job.sh"], cwd=project.folder, check=True)
    done = project.sbatch("job.sh", env={"PATH": f"{folder}:{os.environ['PATH']}"})
    assert done.returncode == 0
    assert ("submitted job 2" if state == "COMPLETED" else "job 1 is left alone") in done.stderr
    wait_until(lambda: project.states() == [state])
    listed = subprocess.run(["squeue", "-h", "-o", "%i %r"], check=True, capture_output=True, text=True)
    assert "1 JobHeldUser" in listed.stdout


@pytest.mark.parametrize("code", [0, 7])
def test_with_wait_it_ends_as_the_job_does(project, code):
    done = project.sbatch("--wait", "job.sh", env={"CODE": str(code)})
    assert (done.returncode, done.stdout) == (code, "Submitted batch job 1\n")
    assert project.states() == ["FAILED" if code else "COMPLETED"]


def test_a_job_that_waits_or_runs_is_shown_so(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\nwhile [ ! -e over ]; do sleep 0.05; done\n")
    assert project.sbatch("--hold", "job.sh").returncode == 0
    assert project.states() == ["PENDING"]
    subprocess.run(["scontrol", "release", "1"], check=True)
    wait_until(lambda: project.states() == ["RUNNING"])
    assert project.states() == ["RUNNING"]
    (project.folder / "over").touch()
    wait_until(lambda: project.states() == ["COMPLETED"])


def test_arrays_arguments_and_scripts_are_on_record(project):
    assert project.sbatch("--array=2,5-7%2", "job.sh", "it's", "", "-n").returncode == 0
    project.cluster.wait_until_idle()
    runs = project.shown("status", "last", "--refresh")["runs"]
    assert [(run["index"], run["state"], run["job_id"]) for run in runs] == [
        (index, "COMPLETED", f"1_{index}") for index in (2, 5, 6, 7)
    ]
    run = project.shown("show", "last/5")
    assert run["config"]["arguments"] == ["it's", "", "-n"]
    assert run["config"]["flags"] == ["--array=2,5-7%2"]
    (sweep,) = project.sweeps()
    (kept,) = (project.folder / ".hpcorch/scripts" / sweep / ".hpcorch/submissions").iterdir()
    assert kept.read_text() == SCRIPT


def test_a_sweep_is_found_by_the_id_of_its_job_and_its_logs_by_the_pattern_of_its_output(project):
    assert project.sbatch("job.sh").returncode == 0
    assert project.sbatch("--array=3", "--output=out-%A-%a.txt", "job.sh", "of the second").returncode == 0
    project.cluster.wait_until_idle()
    project.run("status", "last", "--refresh")
    assert [run["index"] for run in project.shown("status", "job=2")["runs"]] == [3]
    (project.folder / "out-2-3.txt").write_text("epoch 1\n")
    assert project.run("logs", "job=2/3").stdout == "epoch 1\n"
    missing = project.run("status", "job=3")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "has the Slurm job 3" in missing.stderr


def test_a_missing_folder_for_output_is_warned_of_and_named_when_slurm_has_failed_for_it(project):
    done = project.sbatch("-o", "nolog/%A_%a.out", "--array=0-1", "job.sh")
    assert (done.returncode, done.stdout) == (0, "Submitted batch job 1\n")
    assert f"the folder {project.folder}/nolog for its output does not exist: make it" in done.stderr
    project.cluster.wait_until_idle()
    runs = project.shown("status", "last", "--refresh")["runs"]
    said = "the folder does not exist or is not writable. Make it before you submit again"
    assert [(run["state"], run["reason"]) for run in runs] == [
        ("FAILED", f"Slurm could not open its output file {project.folder}/nolog/1_{index}.out: {said}")
        for index in (0, 1)
    ]
    assert "does not exist" not in project.sbatch("job.sh").stderr


def test_a_script_is_not_run_again_by_us_and_the_sentence_says_how(project):
    assert project.sbatch("job.sh", "it's", env={"CODE": "3"}).returncode == 0
    project.cluster.wait_until_idle()
    assert project.states() == ["FAILED"]
    refused = project.run("retry", "last")
    assert refused.returncode == 2
    assert """`hpcorch sbatch job.sh 'it'"'"'s'`""" in refused.stderr
    assert "hpcorch retry" not in project.run("why", "last/0").stdout


TRAPS = """#!/bin/bash
trap 'exit $1' TERM
touch ready
while :; do sleep 0.05; done
"""


def preempted(project, code):
    """A job that ended with this code in the grace time of its preemption, and that Slurm calls as it ended."""
    (project.folder / "job.sh").write_text(TRAPS)
    assert project.sbatch("job.sh", str(code)).returncode == 0
    wait_until((project.folder / "ready").exists)
    subprocess.run(["scancel", "--grace", "1"], check=True)
    project.cluster.wait_until_idle()
    return project.shown("status", "last", "--refresh")["runs"]


@pytest.mark.parametrize("accounting", ["slurmdbd", "none"])
def test_a_script_that_fails_because_it_is_preempted_is_no_failure(project, monkeypatch, accounting):
    """And it is not submitted again, which is told with how to."""
    monkeypatch.setenv("FAKE_SLURM_ACCOUNTING", accounting)
    (run,) = preempted(project, 3)
    assert run["state"] == "CANCELLED"
    assert run["reason"].startswith("preempted: it ended within the grace time")
    if accounting != "none":  # nobody else tells of attempts and exit codes
        assert run["exit_code"] == 3
        assert [one["state"] for one in run["attempts"]] == ["PREEMPTED"]
    assert "`hpcorch sbatch job.sh 3` submits it again" in " ".join(project.run("why", "last/0").stdout.split())
    assert project.cluster.jobs().keys() == {"1"}


def test_a_script_that_ends_well_because_it_is_preempted_says_that_it_was(project):
    (run,) = preempted(project, 0)
    assert (run["state"], run["exit_code"]) == ("COMPLETED", 0)
    assert "while Slurm preempted it" in run["reason"]
    assert "while Slurm preempted it" in " ".join(project.run("why", "last/0").stdout.split())


def test_of_an_array_those_that_were_preempted_are_told_apart(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\nwhile [ ! -e over ]; do sleep 0.05; done\nexit 3\n")
    assert project.sbatch("--array=4,6", "job.sh").returncode == 0
    wait_until(lambda: set(project.states()) == {"RUNNING"})
    subprocess.run(["scancel", "--grace", "1_6"], check=True)
    (project.folder / "over").touch()
    project.cluster.wait_until_idle()
    assert project.states() == ["FAILED", "CANCELLED"]


def test_what_only_slurm_can_tell_is_not_said_to_be_of_now(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\nsleep 600\n")
    assert project.sbatch("--hold", "job.sh").returncode == 0
    project.run("status", "last", "--refresh")
    wait_until(lambda: project.shown("status", "last")["age_s"] > 1)
    begun = time.time()
    told = project.shown("status", "last", "--refresh")
    assert told["age_s"] <= time.time() - begun  # type: ignore[index]


def test_the_commit_and_what_a_seed_is_to_a_script_are_shown(project):
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=project.folder, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert project.sbatch("job.sh").returncode == 0
    run = project.shown("show", "last/0")
    assert (run["code"]["commit"], run["seed_source"]) == (head.stdout.strip(), "offered")
    assert f"commit {head.stdout.strip()}" in project.run("show", "last").stdout


def test_a_script_on_standard_input_and_a_wrapped_command_are_on_record(project):
    assert project.sbatch(input=SCRIPT).stdout == "Submitted batch job 1\n"
    assert project.sbatch("--wrap=echo 'a b'").stdout == "Submitted batch job 2\n"
    kept = [path.read_text() for path in (project.folder / ".hpcorch/scripts").glob("*/.hpcorch/submissions/*")]
    assert sorted(kept) == sorted(
        [SCRIPT, "#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho 'a b'\n"]
    )
    assert sorted(row["name"] for row in project.shown("ls")) == ["mine", "wrap"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "nosuch", "job.sh"], "Invalid partition name specified"),
        (["--array=0-1001", "job.sh"], "Invalid job array specification"),
        (["nosuch.sh"], "Unable to open file nosuch.sh"),
        ([], "Batch script is empty!"),
    ],
)
def test_what_is_refused_leaves_nothing(project, words, said):
    done = project.sbatch(*words, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert said in done.stderr
    assert "hpcorch" not in done.stderr
    assert (project.sweeps(), project.waiting(), project.cluster.jobs()) == ([], [], {})


def test_what_is_refused_leaves_nothing_with_a_ledger_elsewhere(project, tmp_path):
    env = {"HPCORCH_LEDGER": str(tmp_path / "elsewhere/mine.db")}
    assert project.sbatch("-p", "nosuch", "job.sh", env=env).returncode == 1
    assert list((tmp_path / "elsewhere/scripts").iterdir()) == []
    assert list((tmp_path / "elsewhere/inbox").iterdir()) == []
    assert project.sbatch("job.sh", env=env).returncode == 0
    done = project.run("ls", env=env)
    assert "mine" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("flag", ["--help", "-h", "--usage", "--version", "--test-only"])
def test_what_submits_nothing_records_nothing(project, flag):
    done = project.sbatch(flag, "job.sh")
    assert project.sweeps() == []
    assert not (project.folder / ".hpcorch").exists()
    if "h" in flag.strip("-")[:1]:
        assert "--hpcorch-resource" in done.stdout
        assert "Usage: sbatch" in done.stdout


def test_a_script_may_ask_for_a_trial_only(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\n#SBATCH --test-only\n")
    done = project.sbatch("job.sh")
    assert (done.returncode, done.stdout, project.sweeps()) == (0, "", [])


def test_a_script_may_ask_for_a_bare_id(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\n#SBATCH --parsable\n")
    assert project.sbatch("job.sh").stdout == "1\n"


@pytest.mark.parametrize("mode", ["nonsense", "killed"])
def test_an_sbatch_without_an_answer_is_settled_by_the_token(project, mode):
    done = project.sbatch("job.sh", env={"FAKE_SLURM_SBATCH": mode})
    assert done.returncode == (137 if mode == "killed" else 0)
    assert len(project.cluster.jobs()) == 1
    project.cluster.wait_until_idle()
    assert project.states() == ["COMPLETED"]
    accepted = [event["kind"] for event in project.submissions()]
    assert accepted.count("submission-accepted") == 1


def test_where_it_is_not_known_whether_the_job_exists_that_is_said(project):
    done = project.sbatch("job.sh", env={"FAKE_SLURM_SBATCH": "reject:Socket timed out"})
    assert done.returncode == 1
    assert "Socket timed out" in done.stderr
    (sweep,) = project.sweeps()
    assert f"`hpcorch status --refresh {sweep}`" in done.stderr
    assert [run["state"] for run in project.shown("status", "last")["runs"]] == ["UNCERTAIN"]


def test_a_controller_that_is_down_is_told_by_sbatch_itself(project):
    done = project.sbatch("job.sh", env={"FAKE_SLURM_SBATCH": "down"})
    assert done.returncode == 1
    assert done.stderr == (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"
    )
    assert project.sweeps() == []


def test_a_command_that_is_killed_before_sbatch_answers_loses_no_job(project, monkeypatch):
    """The job is found by its token at the next look, once."""
    child = processes.start(
        [HPCORCH, "sbatch", "job.sh"],
        cwd=project.folder,
        env={**os.environ, "FAKE_SLURM_SBATCH": "timeout"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(project.cluster.jobs)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert [event["kind"] for event in project.submissions()] == ["submission-intended"]
    project.cluster.wait_until_idle()
    assert project.states() == ["COMPLETED"]
    assert project.states() == ["COMPLETED"]
    kinds = [event["kind"] for event in project.submissions()]
    assert kinds == ["submission-intended", "submission-accepted", "submission-released"]


@pytest.mark.parametrize("taken", [".hpcorch", ".hpcorch/scripts", ".hpcorch/inbox", ".hpcorch/snapshots"])
def test_what_cannot_be_written_is_said_and_nothing_is_submitted(project, taken):
    """Something else lies where a folder must be: that stops root, too."""
    (project.folder / taken).parent.mkdir(exist_ok=True)
    (project.folder / taken).write_text("in the way")
    done = project.sbatch("job.sh")
    assert done.returncode in (1, 3)
    assert ".hpcorch" in done.stderr
    assert "hydra" not in done.stderr
    assert "Traceback" not in done.stderr
    assert project.cluster.jobs() == {}


# What a full disk or an exhausted quota does to whoever writes below .hpcorch.
FULL = """
import builtins, errno, os, sys
from hpcorch.journal import files
from hpcorch.cli.main import main
left = int(os.environ["ROOM"])
real = os.open
def full(path, flags, *rest, **named):
    global left
    if flags & os.O_CREAT and ".hpcorch" in os.fspath(path if not isinstance(path, int) else ""):
        left -= 1
        if left < 0:
            raise OSError(errno.EDQUOT, "Disk quota exceeded", path)
    return real(path, flags, *rest, **named)
os.open = full
sys.argv[0] = "hpcorch"
main()
"""


@pytest.mark.parametrize("room", range(6))
def test_where_the_quota_is_used_up_nothing_is_submitted(project, room):
    done = subprocess.run(
        [sys.executable, "-c", FULL, "sbatch", "job.sh"],
        cwd=project.folder,
        env={**os.environ, "ROOM": str(room)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        assert len(project.cluster.jobs()) == 1
        return
    assert "Traceback" not in done.stderr
    assert "Disk quota exceeded" in done.stderr
    assert project.cluster.jobs() == {}


def test_two_at_once_are_both_on_record(project):
    children = [
        processes.start(
            [HPCORCH, "sbatch", "--parsable", "job.sh"],
            cwd=project.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ids = sorted(child.communicate(timeout=120)[0] for child in children)
    assert ids == ["1\n", "2\n", "3\n", "4\n"]
    assert len(project.sweeps()) == len(project.waiting()) == 4
    listed = [
        processes.start([HPCORCH, "ls", "--json"], cwd=project.folder, stdout=subprocess.PIPE) for _ in range(2)
    ]  # both take over
    for child in listed:
        assert len(json.loads(child.communicate(timeout=120)[0])) == 4
    assert project.waiting() == []


LOCKING = """
import sys, time
from pathlib import Path
from hpcorch.ledger import Ledger
with Ledger.open(Path(sys.argv[1]), write=True, create=True) as ledger:
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_ledger_that_somebody_else_writes_does_not_hold_it_up(project):
    assert project.sbatch("job.sh").returncode == 0
    ledger = project.folder / ".hpcorch/ledger.db"
    holder = processes.start([sys.executable, "-c", LOCKING, str(ledger)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        begun = time.monotonic()
        assert project.sbatch("job.sh").stdout == "Submitted batch job 2\n"
        assert time.monotonic() - begun < tunables.LEDGER_WRITER_WAIT_S
    finally:
        holder.kill()
        holder.communicate()
    assert len(project.shown("ls")) == 2


def test_a_sweep_directory_that_was_deleted_is_told_once(project):
    assert project.sbatch("job.sh").returncode == 0
    (sweep,) = project.sweeps()
    subprocess.run(["rm", "-r", str(project.folder / ".hpcorch/scripts" / sweep)], check=True)
    first, second = project.run("ls"), project.run("ls")
    assert sweep in first.stderr
    assert "Traceback" not in first.stderr
    assert sweep not in second.stderr


def test_a_ledger_that_is_missing_is_made_of_what_waits(project):
    assert project.sbatch("job.sh").returncode == 0
    assert not (project.folder / ".hpcorch/ledger.db").exists()
    assert [row["name"] for row in project.shown("ls")] == ["mine"]
    assert (project.folder / ".hpcorch/ledger.db").exists()


def test_from_inside_a_job_the_ledger_is_not_opened(project):
    env = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "outer", "SLURM_CPUS_PER_TASK": "3"}
    done = project.sbatch("job.sh", env=env)
    assert (done.returncode, done.stdout) == (0, "Submitted batch job 1\n")
    assert not (project.folder / ".hpcorch/ledger.db").exists()
    assert [row["name"] for row in project.shown("ls")] == ["mine"]


@pytest.mark.parametrize(
    "name", ["with space", 'it\'s "quoted"', "new\nline", "\u00fc\u65e5\u672c", "$(touch gone)", "-x"]
)
def test_a_project_may_have_any_path(project, name):
    folder = project.folder.parent / name
    project.folder.rename(folder)
    there = Project(folder=folder, cluster=project.cluster)
    assert there.sbatch("job.sh").stdout == "Submitted batch job 1\n"
    project.cluster.wait_until_idle()
    assert there.states() == ["COMPLETED"]


@pytest.mark.parametrize("place", ["home", "temporary"])
def test_a_script_in_a_home_or_in_a_folder_for_temporary_files_is_frozen_alone(project, tmp_path, place):
    script, env = project.folder / "job.sh", {"HOME": str(project.folder)}
    if place == "temporary":
        script, env = tmp_path / "tmp" / "tmp123.sh", {"TMPDIR": str(tmp_path / "tmp")}
        script.parent.mkdir()
        script.write_text(SCRIPT)
    (script.parent / "neighbour.py").write_text("")
    assert project.sbatch(str(script), env=env).returncode == 0
    (archive,) = (project.folder / ".hpcorch/snapshots").iterdir()
    assert [entry.path for entry in open_archive(archive, archive.name).entries] == [script.name]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| head -0", ">/dev/full"])
def test_closed_and_broken_streams_lose_no_job(project, closed):
    done = subprocess.run(
        ["bash", "-c", f"{HPCORCH} sbatch job.sh {closed}"],
        cwd=project.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert len(project.cluster.jobs()) == 1
    assert [event["kind"] for event in project.submissions()][:2] == ["submission-intended", "submission-accepted"]


def test_ctrl_c_at_any_time_leaves_a_job_on_record_or_none(project):
    """Interrupted after 0.05, 0.1, ... seconds, for as long as a whole command takes."""
    for step in range(1, 9):
        child = processes.start(
            [HPCORCH, "sbatch", "--parsable", "job.sh"],
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        time.sleep(step * 0.05)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=120)
        # An interpreter that has not come to our code yet ends with a traceback of its own.
        assert "Traceback" not in errors or "hpcorch/services" not in errors
    tokens = {str(event["token"]) for event in project.submissions() if event["kind"] == "submission-intended"}
    for job in project.cluster.jobs().values():
        assert any(token in job["flags"]["comment"] for token in tokens)


def test_a_script_that_can_be_read_once_is_submitted_and_recorded(project):
    command = f"{HPCORCH} sbatch <(printf '#!/bin/sh\\necho once\\n') a"
    done = subprocess.run(["bash", "-c", command], cwd=project.folder, capture_output=True, text=True)
    assert done.stdout == "Submitted batch job 1\n", done.stderr
    (sweep,) = project.sweeps()
    (kept,) = (project.folder / ".hpcorch/scripts" / sweep / ".hpcorch/submissions").iterdir()
    assert kept.read_text() == "#!/bin/sh\necho once\n"


def test_what_cannot_be_recorded_is_said(project):
    os.mkfifo(project.folder / "pipe.sh")
    writer = processes.start(["bash", "-c", "printf '#!/bin/sh\\n' > pipe.sh"], cwd=project.folder)
    done = project.sbatch("pipe.sh")
    writer.kill()
    writer.wait()
    assert done.stdout == "Submitted batch job 1\n"
    assert "not on record" in done.stderr


def test_a_script_of_twenty_megabytes_is_no_trouble(project):
    (project.folder / "job.sh").write_text(SCRIPT + "# filling\n" * 2_000_000)
    assert project.sbatch("job.sh").returncode == 0
    assert [row["name"] for row in project.shown("ls")] == ["mine"]


def test_arguments_that_are_no_text_are_kept(project):
    done = project.sbatch("job.sh", "\udcff\udc80", "\u00e9")
    assert (done.returncode, done.stderr) == (0, "")
    assert project.shown("show", "last/0")["config"]["arguments"] == ["\udcff\udc80", "\u00e9"]


@pytest.mark.parametrize(
    "flags", [["--hpcorch-pool", "nosuch"], ["--hpcorch-resource=nosuch=1"], ["--hpcorch-pool"]]
)
def test_what_the_catalog_does_not_have_is_refused_before_anything_happens(project, flags):
    done = project.sbatch(*flags, "job.sh")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (project.sweeps(), project.cluster.jobs()) == ([], {})


def test_status_says_that_slurm_was_not_asked_until_it_was(project):
    assert project.sbatch("--wait", "job.sh").returncode == 0
    for _ in range(2):
        assert "Slurm was not asked yet; --refresh asks" in project.run("status", "last").stdout
    assert re.search("as of .*, when Slurm was last asked", project.run("status", "last", "--refresh").stdout)
    assert "when Slurm was last asked" in project.run("status", "last").stdout
    assert project.shown("status", "last")["looked_at"] is not None  # type: ignore[index]


def test_of_an_array_those_that_failed_are_to_be_submitted_again(project):
    (project.folder / "job.sh").write_text("#!/bin/sh\n[ $((SLURM_ARRAY_TASK_ID % 2)) = 0 ]\n")
    assert project.sbatch("--job-name=odd", "--array=0-4", "job.sh", "foo").returncode == 0
    project.cluster.wait_until_idle()
    refused = project.run("retry", "last")
    assert refused.returncode == 2
    assert "`hpcorch sbatch --job-name=odd --array=1,3 job.sh foo`" in refused.stderr
    assert "--array=3 job.sh" in project.run("retry", "last/2-4").stderr


def test_a_program_that_submits_finds_its_sweep_at_once(project):
    program = """
import hpcorch
from pathlib import Path
first = hpcorch.submit("job.sh", Path("data"))
ledger = hpcorch.Ledger()
assert [run.sweep for run in ledger.runs(first.sweep)] == [first.sweep]
second = hpcorch.submit("job.sh", flags=["--hold"])
assert ledger.runs("last")[0].sweep == second.sweep
assert hpcorch.Ledger().sweep(second.sweep).state == "SUBMITTED"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=project.folder, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("'job.sh', 0.1", "each argument of submit() is a text or a path, and 0.1 is of type float: write '0.1'"),
        ("'job.sh', flags='--time=60'", "flags of submit() are a list of texts: write flags=['--time=60']"),
        ("'job.sh', flags=[60]", "each flag of submit() is a text"),
        ("5", "the script of submit() is a text or a path"),
    ],
)
def test_what_no_command_line_can_have_is_refused_in_a_sentence(project, monkeypatch, call, said):
    monkeypatch.chdir(project.folder)
    with pytest.raises(UsageError, match=re.escape(said)):
        eval(f"hpcorch.submit({call})", {"hpcorch": hpcorch})
    assert project.cluster.jobs() == {}


def test_a_wrapper_that_is_called_sbatch_does_not_call_itself(project, tmp_path):
    wrapper = tmp_path / "bin/sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {HPCORCH} sbatch "$@"\n')
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sbatch", "job.sh"],
        cwd=project.folder,
        env={**os.environ, "PATH": path},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Submitted batch job 1\n", "")
    assert len(project.sweeps()) == 1
    assert "Usage: sbatch" in project.sbatch("--help", env={"PATH": path}).stdout


def test_where_there_is_but_a_wrapper_a_sentence_says_so(tmp_path):
    for name in ("sbatch", "other/sbatch"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('#!/bin/sh\n# for Makefiles\nexec "/opt/hpcorch" sbatch "$@"\n')
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SlurmUnavailableError, match="there is no sbatch of Slurm's on PATH behind it"):
        sbatch_program({"PATH": f"{tmp_path}:{tmp_path / 'other'}"})
    (tmp_path / "other/sbatch").write_text(
        "#!/bin/sh\n# unlike hpcorch sbatch it records nothing\nexec /opt/sbatch\n"
    )
    assert sbatch_program({"PATH": f"{tmp_path}:{tmp_path / 'other'}"}) == str(tmp_path / "other/sbatch")


def test_a_project_that_init_made_ready_outside_git_has_one_ledger(project):
    assert project.run("init").returncode == 0
    below = project.folder / "experiments/first"
    below.mkdir(parents=True)
    assert project.run("exec", "--", "true", cwd=below).returncode == 0
    assert project.run("status", "last").returncode == 0
    assert not (below / ".hpcorch").exists()
