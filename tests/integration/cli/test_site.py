"""``hpcorch init`` and ``hpcorch doctor`` on a pretended site, and the limits that a launch would ask for."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from hpcorch import process
from hpcorch.errors import UsageError
from hpcorch.resources.profile.file import parse_profile
from hpcorch.services.doctor import folder as doctor_folder
from hpcorch.services.doctor.file_systems import Mount
from hpcorch.services.doctor.report import PROFILE_CHECKS
from hpcorch.services.site.project_profile import ask_licenses, check_cluster, read_profile
from hpcorch.services.site.user_limits import user_limits
from hpcorch.slurm.client import CliClient
from tests.support.paths import DATA

HYDRA_PROGRAM = """\
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    return cfg.lr


if __name__ == "__main__":
    main()
"""
CAPTURED = DATA / "slurm" / "24.11"
CONFIG = """\
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType = accounting_storage/slurmdbd
ClusterName = beta
MaxArraySize = 1001
MaxJobCount = 4000
SLURM_VERSION = 24.11.5
"""


class Site:
    """Slurm's commands of a site, whose answers a test may change. ``None`` is a refusal."""

    def __init__(self, folder: Path) -> None:
        self.commands = folder / "bin"
        self.commands.mkdir()
        self._said: dict[str, str | None] = {}
        self.says(
            {
                "scontrol show config": CONFIG,
                "scontrol -o show licenses": (CAPTURED / "licenses-remote.txt").read_text(),
                "scontrol -o show partition": (CAPTURED / "partitions.txt").read_text(),
                "scontrol -o show reservation": (CAPTURED / "reservations.txt").read_text(),
                "sinfo -h -N -o %N|%P|%G": (CAPTURED / "nodes.txt").read_text(),
                "sacct ": "",
                "sacctmgr -nP show qos": (CAPTURED / "qos.txt").read_text(),
                "sacctmgr -nP show assoc cluster=beta user= ": (CAPTURED / "accounts.txt").read_text(),
                "sacctmgr -nP show user": (CAPTURED / "associations.txt").read_text(),
            }
        )

    def says(self, answers: dict[str, str | None]) -> None:
        """What is printed for words that begin like this; the longest beginning counts."""
        self._said |= answers
        lines = ["#!/bin/sh", 'case "${0##*/} $*" in']
        for words in sorted(self._said, key=len, reverse=True):
            text = self._said[words]
            answer = "echo refused by the site >&2; exit 1" if text is None else f"printf %s {shlex.quote(text)}"
            lines.append(f"{shlex.quote(words)}*) {answer};;")
        lines += ["*) exit 1;;", "esac", ""]
        for name in ("scontrol", "sinfo", "sacct", "sacctmgr"):
            program = self.commands / name
            program.write_text("\n".join(lines))
            program.chmod(0o755)


@pytest.fixture
def site(tmp_path, monkeypatch):
    made = Site(tmp_path)
    monkeypatch.setenv("PATH", f"{made.commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HPCORCH_SITE", raising=False)
    return made


@pytest.fixture
def project(tmp_path, monkeypatch):
    path = tmp_path / "project"
    (path / "deep" / "er").mkdir(parents=True)
    (path / ".git").mkdir()
    monkeypatch.chdir(path / "deep" / "er")
    on_disk = Mount(kind="ext4")  # some machines have /tmp in memory
    monkeypatch.setattr(doctor_folder, "mount_at", lambda _: on_disk)
    return path


def findings(ran) -> dict[str, str]:
    return {one["check"]: one["problem"] for one in json.loads(ran.out)["findings"]}


def rows(ran) -> dict[str, tuple[str, str]]:
    return {one["check"]: (one["verdict"], one["found"]) for one in json.loads(ran.out)["rows"]}


def test_init_writes_a_profile_of_which_doctor_finds_nothing_to_say(site, project, hpcorch):
    unlimited = hpcorch("doctor")
    assert unlimited.code == 0
    assert "there is no site profile, so nothing is limited; `hpcorch init` writes one" in unlimited.out
    made = hpcorch("init", "--json")
    assert made.code == 0, made.err
    path = project / ".hpcorch" / "site.yaml"
    told = json.loads(made.out)
    assert told["profile"] == str(path)
    assert told["resources"]["scratch"] == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    profile = read_profile(path)
    assert profile.cluster == "beta"
    assert profile.resources["nastran_flex"].license == "nastran@flex"
    assert (profile.resources["gpu_a100"].gpu_type, profile.resources["gpu_a100"].capacity) == ("a100", 8)
    assert profile.pools["urgent"].limits.max_walltime_min == 2880
    assert profile.pools["urgent"].limits.max_submitted == 600
    checked = hpcorch("doctor")
    assert checked.code == 0
    assert f"profile: {path} matches the cluster: {len(PROFILE_CHECKS)} checks\n" in checked.out
    assert "NOT OK" not in checked.out


def test_init_never_replaces_a_profile_unless_it_is_told_to(site, project, hpcorch):
    path = project / "mine" / "site.yaml"
    assert hpcorch("init", "--output", path).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "what is put elsewhere may be meant for others"
    path.write_text("cluster: mine\n")
    refused = hpcorch("init", "--output", path)
    assert refused.code == 2
    assert "--force" in refused.err
    assert path.read_text() == "cluster: mine\n"
    assert hpcorch("init", "-o", path, "--force").code == 0
    assert read_profile(path).cluster == "beta"


def test_init_serves_sites_that_show_little(site, project, hpcorch):
    site.says(
        {
            "scontrol show config": "ClusterName = on\nSLURM_VERSION = 22.05.8\n",
            "scontrol -o show licenses": "No licenses configured in Slurm.\n",
            "scontrol -o show partition": None,
            "scontrol -o show reservation": None,
            "sinfo": None,
            "sinfo -h -N -o %N|%P|%G": None,
        }
    )
    assert hpcorch("init").code == 0
    profile = read_profile(project / ".hpcorch" / "site.yaml")
    assert (profile.cluster, profile.pools, profile.headroom) == ("on", {}, 20)
    assert list(profile.resources) == ["open_files"]
    assert hpcorch("doctor").code == 0


def test_names_that_a_cluster_chooses_become_usable_ones(site, project, hpcorch):
    rows = ["a@b", "a_b", "null", "ü"]
    lines = [f"LicenseName={name} Total=1 Used=0 Free=1 Reserved=0 Remote=no" for name in rows]
    site.says({"scontrol -o show licenses": "\n".join(lines)})
    assert hpcorch("init").code == 0
    resources = read_profile(project / ".hpcorch" / "site.yaml").resources
    assert [one.license for one in resources.values()][:4] == rows
    assert list(resources)[:4] == ["a_b", "a_b_2", "null", "unnamed"]
    assert hpcorch("doctor").code == 0


def test_init_makes_a_project_ready_once_and_leaves_what_is_there(site, project, hpcorch):
    """What somebody sees who runs it twice in a checkout with a program."""
    (project / "train.py").write_text(HYDRA_PROGRAM)
    (project / ".gitignore").write_text("*.pyc\n")
    first = hpcorch("init")
    assert first.code == 0, first.err
    assert [line.split()[:2] for line in first.out.splitlines()[:3]] == [
        ["wrote", f"{project}/.hpcorch/site.yaml"],
        ["wrote", f"{project}/conf/config.yaml"],
        ["wrote", f"{project}/.gitignore"],
    ]
    assert f"python {project}/train.py -m seed=1,2,3 hydra.launcher.dry_run=true" in first.out
    assert len(first.out.splitlines()) == 8
    files = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    second = hpcorch("init")
    assert second.code == 0
    assert [line.split()[0] for line in second.out.splitlines()[:3]] == ["left"] * 3
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == files
    forced = hpcorch("init", "--force", "--json")
    assert [one["written"] for one in json.loads(forced.out)["files"]] == [True, False, False]


def test_init_leaves_a_profile_that_serves_all_users(site, project, hpcorch, monkeypatch, tmp_path):
    everybodys = tmp_path / "everybodys.yaml"
    everybodys.write_text("cluster: beta\npools:\n  p: {partition: urgent}\n")
    monkeypatch.setenv("HPCORCH_SITE", str(everybodys))
    ran = hpcorch("init", "--json")
    assert (ran.code, json.loads(ran.out)["pools"]) == (0, ["p"])
    assert not (project / ".hpcorch").exists()
    assert "# pool: p" in (project / "conf" / "config.yaml").read_text()


def test_init_outside_of_a_checkout_leaves_git_alone(site, tmp_path, hpcorch, monkeypatch):
    folder = tmp_path / "plain"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert hpcorch("init").code == 0
    assert sorted(path.name for path in folder.iterdir()) == [".hpcorch", "conf"]


def test_without_slurm_init_makes_a_project_ready_for_this_machine(project, hpcorch, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", str(project))
    ran = hpcorch("init")
    assert ran.code == 0
    assert "there is no Slurm here" in ran.out
    assert not (project / ".hpcorch").exists()
    assert "override hydra/launcher: hpcorch_local" in (project / "conf" / "config.yaml").read_text()
    for words in (["--force"], ["--output", "site.yaml"]):
        refused = hpcorch("init", *words)
        assert refused.code in (2, 3)
        assert "login node" in refused.err


def test_where_slurm_does_not_answer_init_does_the_rest_and_says_so(site, project, hpcorch):
    site.says({"scontrol show config": None})
    ran = hpcorch("init")
    assert (ran.code, "refused by the site" in ran.err) == (3, True)
    assert "none   " in ran.out.splitlines()[0]
    assert "override hydra/launcher: hpcorch_slurm" in (project / "conf" / "config.yaml").read_text()
    assert not (project / ".hpcorch").exists()


@pytest.mark.programs
def test_the_example_of_a_configuration_runs_as_it_is(project, hpcorch, monkeypatch, tmp_path):
    """By the launcher of this machine, as init wrote it and says how to run it."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(project)
    (project / "train.py").write_text(HYDRA_PROGRAM)
    made = hpcorch("init")
    command = next(line.split("  ")[1] for line in made.out.splitlines() if "runs it" in line)
    assert command == "python train.py -m seed=1,2,3"
    done = process.run([sys.executable, *shlex.split(command)[1:]], timeout_s=120, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "3 COMPLETED" in done.stderr


@pytest.mark.programs
def test_the_example_of_a_configuration_for_a_cluster_can_be_launched(site, project, hpcorch, monkeypatch):
    monkeypatch.chdir(project)
    (project / "train.py").write_text(HYDRA_PROGRAM)
    assert hpcorch("init").code == 0
    monkeypatch.setenv("PATH", "/nonexistent")  # a dry run needs no cluster
    words = ["train.py", "-m", "lr=0.1,0.01", "seed=1,2,3", "hydra.launcher.dry_run=true"]
    done = process.run([sys.executable, *words], timeout_s=120, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "6 runs as one array" in done.stdout
    assert "#SBATCH --time=60" in done.stdout


@pytest.mark.parametrize(
    ("text", "check", "words"),
    [
        ("cluster: alpha", "cluster", "describes cluster alpha, but this is beta"),
        ("resources:\n  tape: {capacity: 1, enforced: license}", "licenses", "the licence tape, which the cluster"),
        ("resources:\n  scratch: {capacity: 9, enforced: license}", "licenses", "capacity 9, and of the licence"),
        ("resources:\n  io: {capacity: 1, enforced: lease, directory: /no/where}", "leases", "is not a folder"),
        ("resources:\n  g: {kind: gpu, gpu_type: h100, capacity: 1, enforced: system}", "gpus", "no node has"),
        ("resources:\n  g: {kind: gpu, capacity: 9, enforced: system}", "gpus", "all nodes together have 8"),
        (
            "resources:\n  f: {kind: file_descriptors, capacity: 999999999, enforced: system}",
            "open files",
            "a process here may open",
        ),
        ("policies: {partitions: [nromal]}", "partitions", "allows nromal, which the cluster does not have"),
        ("pools:\n  p: {partition: gpu}", "partitions", "in partition gpu, which the cluster does not have"),
        (
            "pools:\n  p: {partition: urgent, limits: {max_walltime_min: 9999}}",
            "partitions",
            "allows 9999 minutes, and partition urgent only 2880",
        ),
        ("pools:\n  p: {account: physics}", "accounts", "account physics, which your jobs may not use"),
        ("pools:\n  p: {qos: huge}", "accounts", "QOS huge, which your jobs may not use with account lab"),
        ("pools:\n  p: {reservation: demos}", "reservations", "reservation demos, which the cluster does not have"),
        (
            "pools:\n  p: {partition: urgent, limits: {max_submitted: 601}}",
            "pool limits",
            "max_submitted 601, and Slurm allows 600 submitted by QOS small",
        ),
        ("headroom: 600", "headroom", "in partition urgent you may have only 600 submitted by QOS small"),
    ],
)
def test_doctor_finds_what_is_not_true_of_the_cluster(site, project, hpcorch, tmp_path, text, check, words):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    ran = hpcorch("doctor", "--profile", path, "--json")
    assert ran.code == 1
    found = findings(ran)
    assert list(found) == [check]
    assert words in found[check]


def test_people_read_below_what_is_wrong_what_to_do(site, project, hpcorch, tmp_path):
    (tmp_path / "site.yaml").write_text("pools:\n  p: {partition: nromal}")
    shown = hpcorch("doctor", "--profile", tmp_path / "site.yaml")
    assert shown.code == 1
    lines = shown.out.splitlines()
    (wrong,) = (number for number, line in enumerate(lines) if line.startswith("NOT OK"))
    assert "  partitions: pool p is in partition nromal, " in lines[wrong]
    assert lines[wrong + 1].strip() == "correct the name (normal?)"
    assert "1 not ok" in lines[-1]


def test_doctor_finds_a_closed_partition(site, project, hpcorch, tmp_path):
    text = (CAPTURED / "partitions.txt").read_text()
    site.says({"scontrol -o show partition": text.replace("State=UP", "State=DOWN")})
    (tmp_path / "site.yaml").write_text("pools:\n  p: {partition: normal}")
    ran = hpcorch("doctor", "--profile", tmp_path / "site.yaml", "--json")
    assert "not UP" in findings(ran)["partitions"]


def test_doctor_names_the_line_of_a_profile_that_cannot_be_read(site, project, hpcorch, monkeypatch, tmp_path):
    path = tmp_path / "named.yaml"
    path.write_text("cluster: beta\nheadrom: 3\n")
    monkeypatch.setenv("HPCORCH_SITE", str(path))
    ran = hpcorch("doctor")
    assert ran.code == 2
    assert f"{path}, line 2: headrom is not a known key; did you mean headroom?" in ran.err


def test_a_profile_for_another_cluster_is_refused(site):
    check_cluster(parse_profile("cluster: beta", "site.yaml"), CliClient())
    check_cluster(parse_profile("", "site.yaml"), CliClient())
    with pytest.raises(UsageError, match="describes cluster alpha, but this is beta"):
        check_cluster(parse_profile("cluster: alpha", "site.yaml"), CliClient())


def test_licences_are_asked_of_the_cluster(site):
    assert ask_licenses({"scratch": 2, "nastran@flex": 5}, CliClient()).at_once == 2
    assert ask_licenses(None, CliClient({"PATH": "/nonexistent"})).at_once is None
    with pytest.raises(UsageError, match="has 4: no run could ever start"):
        ask_licenses("scratch:5", CliClient())
    with pytest.raises(UsageError, match=r"26\.05"):
        ask_licenses("scratch:1|matlab:1", CliClient())


def test_limits_of_a_launch_are_those_of_partition_qos_and_account(site):
    client = CliClient()
    assert user_limits(client, partition="urgent").max_submit == 600
    assert user_limits(client, qos="tiny").max_submit == 3
    assert user_limits(client, account="team", qos="normal").max_submit == 2000
    memory = user_limits(client)
    assert memory.max_submit == 4000, "the controller keeps no more than that, of all users"
    assert "MaxJobCount" in memory.source


@pytest.mark.parametrize(
    ("answers", "source"),
    [
        ({"sacctmgr -nP show qos": None}, "no accounting database answers"),
        ({"scontrol show config": CONFIG.replace("slurmdbd", "none")}, "no accounting database answers"),
        ({"scontrol show config": CONFIG.replace(",limits", "")}, "the cluster enforces no limits"),
    ],
)
def test_limits_that_are_not_known_do_not_limit(site, answers, source):
    site.says(answers)
    found = user_limits(CliClient(), partition="urgent")
    assert (found.max_submit, found.max_running, found.max_array_size) == (4000, None, 1001)
    assert source in found.source


def test_doctor_looks_at_the_cluster_and_at_the_ledgers_folder(site, project, hpcorch):
    ran = hpcorch("doctor", "--json")
    found = rows(ran)
    assert ran.code == 0
    assert found["slurm"] == ("ok", "Slurm 24.11.5 answers, cluster beta")
    assert found["accounting"][0] == found["writing"][0] == found["ledger locks"][0] == "ok"
    assert "600 submitted by QOS small" in found["limits"][1]
    assert found["compute nodes"][0] == "not checked"
    assert "the first sweep makes it" in found["ledger"][1]
    assert not (project / ".hpcorch").exists(), "it leaves no trace"
    assert json.loads(ran.out)["checks"] == list(found)


def test_doctor_tells_what_a_site_keeps_from_its_users(site, project, hpcorch):
    site.says(
        {
            "scontrol show config": CONFIG
            + "PrivateData = jobs\nKillWait = 2 sec\nSchedulerParameters = max_array_tasks=100\n",
            "sacct ": None,
        }
    )
    ran = hpcorch("doctor", "--json")
    verdicts = {check: verdict for check, (verdict, _) in rows(ran).items() if verdict in ("limited", "not ok")}
    assert ran.code == 1
    assert (
        verdicts.items()
        >= {
            "accounting": "not ok",
            "private data": "limited",
            "time to end": "limited",
        }.items()
    )
    assert list(findings(ran)) == ["accounting"]
    assert "arrays of up to 100 runs" in rows(ran)["array tasks"][1]


def test_doctor_without_slurm_looks_at_the_folder_alone(project, hpcorch, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    for words in ([], ["--jobs"]):
        ran = hpcorch("doctor", "--json", *words)
        found = rows(ran)
        assert ran.code == 3
        assert found["slurm"][0] == "not checked"
        assert "login node" in found["slurm"][1]
        assert (found["ledger locks"][0], found["file system"][0]) == ("ok", "ok")
        assert "compute nodes" not in found


def test_doctor_finds_a_ledgers_folder_that_cannot_be_written(site, project, hpcorch, tmp_path):
    (tmp_path / "file").touch()
    ran = hpcorch("--ledger", tmp_path / "file" / "ledger.db", "doctor", "--json")
    found = rows(ran)
    assert (ran.code, found["writing of ledger"][0], found["writing of sweeps"][0]) == (1, "not ok", "ok")


def test_a_pool_for_trial_jobs_must_be_there(site, project, hpcorch):
    assert hpcorch("init").code == 0
    assert hpcorch("doctor", "--pool", "normal").code == 2
    ran = hpcorch("doctor", "--jobs", "--pool", "nromal")
    assert ran.code == 2
    assert "normal" in ran.err
