"""What doctor makes of what it finds: each judgement on facts as they could be."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.model.job_states import JobState
from hpcorch.resources.profile.profile import Pool
from hpcorch.services.doctor import cluster, folder, nodes
from hpcorch.services.doctor.file_systems import Mount, Reach, mount_among, reach_of
from hpcorch.services.doctor.folder import FolderFacts
from hpcorch.services.doctor.locks import KINDS, TAKEOVER, LockFight
from hpcorch.services.doctor.rows import Row, Verdict
from hpcorch.services.doctor.trial import NodeFacts
from hpcorch.services.doctor.trial_jobs import Place, script_text
from hpcorch.services.doctor.trial_waiting import Trial, Trials
from hpcorch.services.site.survey import Survey
from hpcorch.services.site.user_limits import Accounting
from hpcorch.slurm.answers.limits import Limits
from hpcorch.slurm.answers.scontrol import ClusterConfig, Partition
from hpcorch.slurm.answers.settings import Settings, parse_free_nodes, parse_nodes, parse_settings
from hpcorch.slurm.answers.squeue import QueueRow
from tests.support import entities

CONFIG = ClusterConfig(
    cluster="beta", version="24.11.5", max_array_size=1001, min_job_age_s=300, accounting=True, preempts=True
)
FACTS = Survey(
    config=CONFIG,
    settings=Settings(preempt_mode="REQUEUE"),
    ahead_s=0.0,
    licenses=[],
    partitions=[],
    gpus={},
    reservations=[],
    database=True,
    accounting=Accounting(associations=[], accounts=[], qos=[], default_account=None),
    limits={},
    open_files=1024,
)
NODE = NodeFacts(
    node="n1",
    machine="1-1",
    hello="hello",
    folders={},
    missing_commands=[],
    controller=None,
    open_files=1024,
    temporary_folder="/tmp",
    temporary=None,
    temporary_free=1 << 40,
)
HELD = {**{kind: LockFight(turns=10, waits=5) for kind in KINDS}, TAKEOVER: LockFight(waits=1)}
NOLOCK = Mount(kind="nfs", options=frozenset({"rw", "nolock"}))
NOCTO = Mount(kind="nfs4", options=frozenset({"rw", "nocto"}))
FOLDER = FolderFacts(
    folder=Path("/project/.hpcorch"), mount=Mount(kind="nfs4"), free_bytes=1 << 40, free_files=1_000_000
)


def configured(**changes) -> Survey:
    return replace(FACTS, config=replace(CONFIG, **changes))


def set_to(**changes) -> Survey:
    return replace(FACTS, settings=replace(FACTS.settings, **changes))


def partition(name: str, mode: str) -> Partition:
    return Partition(name=name, default=True, up=True, max_minutes=None, qos=None, nodes=2, preempt_mode=mode)


def limit(jobs: int) -> Limits:
    return Limits(max_array_size=1001, max_submit=jobs, source=f"{jobs} submitted by QOS small")


def on_two_nodes(**changes) -> Trials:
    facts = {"a": NODE, "b": replace(NODE, node="n2", machine="2-2")}
    trials = [
        Trial(
            name=name,
            job_id=str(number),
            token="",
            started=one.node,
            facts=one,
            ahead_s=0.0,
            locks=HELD,
            is_done=True,
        )
        for number, (name, one) in enumerate(facts.items(), start=7)
    ]
    return Trials(**{"hello": "hello", "trials": trials, "numbers": dict.fromkeys(KINDS, 20), **changes})


def by_check(rows: list[Row]) -> dict[str, Row]:
    return {row.check: row for row in rows}


def waiting_row(job_id: str, state: JobState, reason: str | None) -> QueueRow:
    return entities.queue_row(job_id, None, state, reason=reason)


def test_a_cluster_that_has_all_is_ok_throughout():
    rows = [check(FACTS) for check in cluster.CHECKS]
    assert {row.verdict for row in rows} == {Verdict.OK}, rows
    assert all(not row.cure for row in rows)


@pytest.mark.parametrize(
    ("check", "facts", "verdict", "words"),
    [
        (cluster.slurm, configured(version="21.08.8"), Verdict.NOT_OK, "needs 22.05 or later"),
        (cluster.slurm, configured(version="22.05.0-rc1"), Verdict.OK, "22.05.0-rc1 answers, cluster beta"),
        (
            cluster.slurm,
            configured(version="26.11.0"),
            Verdict.LIMITED,
            "newer than the releases that hpcorch was tested with",
        ),
        (cluster.slurm, configured(version="master"), Verdict.UNKNOWN, "'master'"),
        (cluster.accounting, replace(FACTS, database=False), Verdict.NOT_OK, "does not answer"),
        (
            cluster.accounting,
            replace(configured(accounting=False, min_job_age_s=120), database=False),
            Verdict.LIMITED,
            "120 s later (MinJobAge)",
        ),
        (cluster.limits, configured(max_array_size=0), Verdict.NOT_OK, "no job arrays"),
        (cluster.limits, replace(FACTS, limits={"p": limit(1), "q": limit(9)}), Verdict.NOT_OK, "partition p"),
        (cluster.limits, replace(FACTS, limits={"p": limit(90), "q": limit(9)}), Verdict.OK, "have 9 submitted"),
        (cluster.array_tasks, configured(max_array_tasks=0), Verdict.NOT_OK, "no job arrays"),
        (cluster.array_tasks, configured(max_array_tasks=100), Verdict.OK, "several arrays of up to 100 runs"),
        (cluster.limits, configured(max_array_tasks=100), Verdict.OK, "up to 100 runs (max_array_tasks)"),
        (cluster.array_tasks, configured(max_array_tasks=5000), Verdict.OK, "no lower limit"),
        (cluster.limits, configured(max_array_tasks=5000), Verdict.OK, "up to 1001 runs (MaxArraySize)"),
        (
            cluster.private_data,
            set_to(private_data=frozenset({"jobs", "usage"})),
            Verdict.LIMITED,
            "`hpcorch resources` counts yours alone",
        ),
        (cluster.private_data, set_to(private_data=frozenset({"events"})), Verdict.OK, "you can see"),
        (cluster.preemption, configured(preempts=False), Verdict.OK, "this cluster preempts no jobs"),
        (cluster.preemption, set_to(requeues=False), Verdict.OK, "JobRequeue is 0"),
        (
            cluster.preemption,
            replace(FACTS, partitions=[partition("fast", "CANCEL"), partition("slow", "")]),
            Verdict.LIMITED,
            "in fast is cancelled",
        ),
        (
            cluster.preemption,
            replace(set_to(preempt_mode="GANG,SUSPEND"), partitions=[partition("slow", "")]),
            Verdict.LIMITED,
            "in slow is suspended",
        ),
        (cluster.ending, configured(kill_wait_s=3), Verdict.LIMITED, "little time"),
        (cluster.ending, set_to(over_time_limit_min=None), Verdict.OK, "for ever beyond their limit"),
        (cluster.ending, set_to(over_time_limit_min=5), Verdict.OK, "5 min beyond their limit"),
        (cluster.controller_clock, replace(FACTS, ahead_s=None), Verdict.UNKNOWN, "does not report"),
        (cluster.controller_clock, replace(FACTS, ahead_s=-30.0), Verdict.LIMITED, "30 s behind"),
        (cluster.controller_clock, replace(FACTS, ahead_s=3600.0), Verdict.NOT_OK, "3600 s ahead of"),
    ],
)
def test_what_the_cluster_says_is_judged(check, facts, verdict, words):
    row = check(facts)
    assert row.verdict is verdict
    assert words in row.found
    assert bool(row.cure) == (verdict in (Verdict.LIMITED, Verdict.NOT_OK))


@given(ahead=st.floats(-1e6, 1e6), within=st.floats(0, 1e3))
def test_a_clock_is_only_blamed_for_what_is_certain(ahead, within):
    row = cluster.clock("clock", "n1", ahead, within_s=within)
    certain = abs(ahead) - within
    assert (row.verdict is Verdict.OK) == (certain <= 5)
    assert (row.verdict is Verdict.NOT_OK) == (certain > 60)


@pytest.mark.parametrize(
    ("kind", "reach"),
    [
        *(
            (kind, Reach.SHARED)
            for kind in ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.juicefs", "cifs")
        ),
        *((kind, Reach.DISK) for kind in ("ext4", "xfs", "overlay", "zfs")),
        *((kind, Reach.MEMORY) for kind in ("tmpfs", "ramfs")),
        *((kind, Reach.UNKNOWN) for kind in ("fuse.sshfs", "9p", "", None)),
    ],
)
def test_file_systems_are_known_by_their_type(kind, reach):
    assert reach_of(kind) is reach


def test_the_innermost_mount_counts():
    root, home, fast = Mount(kind="ext4"), Mount(kind="nfs4"), Mount(kind="lustre")
    mounts = {Path("/"): root, Path("/home"): home, Path("/home/a/fast"): fast}
    assert mount_among(mounts, Path("/home/a/fast/project")) == fast
    assert mount_among(mounts, Path("/home/a/faster")) == home
    assert mount_among(mounts, Path("/homes")) == root
    assert mount_among({}, Path("/homes")) is None


def test_a_shared_folder_with_room_is_ok():
    rows = folder.rows_of(FOLDER, of_nodes=True)
    assert {row.verdict for row in rows} == {Verdict.OK}
    assert "on nfs4" in rows[0].found


@pytest.mark.parametrize(
    ("changes", "of_nodes", "check", "verdict", "words"),
    [
        ({"mount": Mount(kind="tmpfs")}, True, "file system", Verdict.NOT_OK, "memory of this host"),
        ({"mount": Mount(kind="tmpfs")}, False, "file system", Verdict.LIMITED, "lost when the host restarts"),
        ({"mount": Mount(kind="ext4")}, True, "file system", Verdict.LIMITED, "a disk of this host"),
        ({"mount": Mount(kind="ext4")}, False, "file system", Verdict.OK, "ext4"),
        ({"mount": None}, True, "file system", Verdict.LIMITED, "unknown kind"),
        ({"mount": NOLOCK}, True, "file system", Verdict.OK, "whose locks do not reach other hosts"),
        ({"mount": NOCTO}, True, "file system", Verdict.LIMITED, "mounted with nocto"),
        ({"free_bytes": 1 << 20}, True, "space", Verdict.NOT_OK, "0.0 GiB"),
        ({"free_files": 12}, True, "space", Verdict.NOT_OK, "12 files"),
        ({"free_files": None}, True, "space", Verdict.OK, "1024.0 GiB (quotas"),
        ({"sqlite": "disk I/O error"}, True, "ledger locks", Verdict.NOT_OK, "disk I/O error"),
        ({"ahead_s": 90.0}, True, "file clock", Verdict.NOT_OK, "90 s ahead"),
        ({"writing": "permission denied"}, True, "writing", Verdict.NOT_OK, "permission denied"),
    ],
)
def test_what_a_folder_lacks_is_told(changes, of_nodes, check, verdict, words):
    row = by_check(folder.rows_of(replace(FOLDER, **changes), of_nodes=of_nodes))[check]
    assert row.verdict is verdict
    assert words in row.found
    assert bool(row.cure) == (verdict is not Verdict.OK)


def test_a_disk_is_no_concern_where_jobs_try_it():
    rows = folder.rows_of(replace(FOLDER, mount=Mount(kind="ext4")), of_nodes=True, tried=True)
    assert {row.verdict for row in rows} == {Verdict.OK}


def test_few_open_files_are_told():
    assert folder.open_files_row("open files", "here", None).verdict is Verdict.OK
    assert folder.open_files_row("open files", "here", 1024).verdict is Verdict.OK
    assert folder.open_files_row("open files", "here", 256).verdict is Verdict.NOT_OK


def test_nodes_that_have_all_are_ok_throughout():
    rows = nodes.rows_of(on_two_nodes())
    assert {row.verdict for row in rows} == {Verdict.OK}, rows
    assert len(rows) == 8


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "words"),
    [
        ({"hello": "stale"}, "folder on nodes", Verdict.NOT_OK, "n2 does not see"),
        ({"folders": {"/leases": "read-only"}}, "shared folders", Verdict.NOT_OK, "n2 cannot write in /leases"),
        ({"missing_commands": ["sbatch"]}, "Slurm on nodes", Verdict.LIMITED, "n2 has no sbatch"),
        ({"controller": "refused"}, "Slurm on nodes", Verdict.LIMITED, "does not answer from n2"),
        ({"open_files": 100}, "open files on nodes", Verdict.NOT_OK, "only 100"),
        ({"temporary": "read-only"}, "temporary files", Verdict.NOT_OK, "n2 cannot write in /tmp"),
        ({"temporary_free": 1 << 20}, "temporary files", Verdict.NOT_OK, "1 MiB"),
    ],
)
def test_what_one_of_two_nodes_lacks_is_told(changes, check, verdict, words):
    trials = on_two_nodes()
    trials.trials[1].facts = replace(trials.trials[1].facts, **changes)
    row = by_check(nodes.rows_of(trials))[check]
    assert row.verdict is verdict
    assert words in row.found
    assert row.cure


def test_the_node_whose_clock_is_furthest_off_for_certain_is_told():
    trials = on_two_nodes()
    trials.trials[0].ahead_s, trials.trials[0].within_s = -100.0, 99.0
    trials.trials[1].ahead_s, trials.trials[1].within_s = 70.0, 1.0
    row = by_check(nodes.rows_of(trials))["node clocks"]
    assert (row.verdict, "n2 is 70 s ahead" in row.found) == (Verdict.NOT_OK, True)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("lease", Verdict.NOT_OK),
        ("creation", Verdict.NOT_OK),
        ("fcntl", Verdict.LIMITED),
        ("link", Verdict.LIMITED),
        ("flock", Verdict.LIMITED),
    ],
)
def test_a_lock_that_two_held_at_once_is_told_and_the_others_are_named(kind, verdict):
    trials = on_two_nodes(numbers={**dict.fromkeys(KINDS, 20), kind: 13})
    broken, fine = (row for row in nodes.rows_of(trials) if row.check == "locks")
    assert (broken.verdict, fine.verdict) == (verdict, Verdict.OK)
    assert "7 of 20 turns overlapped" in broken.found


def test_a_lock_that_is_not_taken_over_from_a_dead_host_is_told():
    trials = on_two_nodes()
    trials.trials[0].locks = {**HELD, TAKEOVER: LockFight(error="process 1 of alice on n1 holds the lock")}
    broken = next(row for row in nodes.rows_of(trials) if row.check == "locks")
    assert (broken.verdict, "a host that dies may lock the project" in broken.found) == (Verdict.NOT_OK, True)


def test_a_lock_that_cannot_be_had_is_told():
    trials = on_two_nodes()
    trials.trials[0].locks = {**HELD, "creation": LockFight(error="No locks available")}
    row = next(row for row in nodes.rows_of(trials) if row.check == "locks")
    assert row.verdict is Verdict.NOT_OK
    assert "no locks available" in row.found
    assert "ledger" in row.cure


@pytest.mark.parametrize("what", ["one node", "no answer", "one job"])
def test_locks_are_not_vouched_for_unless_two_nodes_fought(what):
    trials = on_two_nodes()
    if what == "one node":
        trials.trials[1].facts = NODE
    elif what == "no answer":
        trials.trials[1].locks = None
    else:
        del trials.trials[1]
    assert by_check(nodes.rows_of(trials))["locks"].verdict is Verdict.UNKNOWN


def test_locks_that_nobody_had_to_wait_for_are_not_vouched_for():
    trials = on_two_nodes()
    for trial in trials.trials:
        trial.locks = {**HELD, "flock": LockFight(turns=10)}
    verdicts = [row.verdict for row in nodes.rows_of(trials) if row.check == "locks"]
    assert verdicts == [Verdict.UNKNOWN, Verdict.OK]


def test_two_nodes_of_one_machine_are_called_so():
    trials = on_two_nodes()
    trials.trials[1].facts = replace(NODE, node="n2")
    assert "of one machine" in by_check(nodes.rows_of(trials))["locks"].found


@pytest.mark.parametrize(
    ("trial", "check", "verdict", "words"),
    [
        (
            {"started": "n1", "over_since": 0.0, "log": "line 9: /root/v/bin/python: Permission denied"},
            "interpreter",
            Verdict.NOT_OK,
            "Permission denied",
        ),
        ({"started": "n1", "over_since": 0.0, "log": "KeyError"}, "interpreter", Verdict.NOT_OK, "Python failed"),
        ({"started": "n1"}, "interpreter", Verdict.UNKNOWN, "did not start in time"),
        (
            {"over_since": 0.0, "row": waiting_row("7", JobState.FAILED, None)},
            "folder on nodes",
            Verdict.NOT_OK,
            "job 7 ended (FAILED) and wrote nothing",
        ),
        (
            {"row": waiting_row("7", JobState.PENDING, "Priority")},
            "trial jobs",
            Verdict.UNKNOWN,
            "job 7 did not run in time (PENDING, Priority)",
        ),
    ],
)
def test_what_kept_a_job_from_looking_is_told(trial, check, verdict, words):
    rows = nodes.rows_of(Trials(hello="", trials=[Trial(name="a", job_id="7", token="", **trial)]))
    assert [(row.check, row.verdict) for row in rows] == [(check, verdict)]
    assert words in rows[0].found
    assert rows[0].cure


def test_a_refused_job_is_told_with_slurms_reason():
    (row,) = nodes.rows_of(Trials(hello="", refused="there is no such account (--account=x)."))
    assert (row.verdict, row.cure.startswith("name a pool")) == (Verdict.NOT_OK, True)
    assert "no such account" in row.found


def test_the_settings_of_slurm_conf_are_read():
    text = """\
Configuration data as of 2026-01-02T03:04:05
JobRequeue              = 0
OverTimeLimit           = UNLIMITED
PreemptMode             = GANG,SUSPEND
PrivateData             = jobs,usage
SchedulerParameters     = bf_interval=3,defer
"""
    assert parse_settings(text) == Settings(
        told_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        private_data=frozenset({"jobs", "usage"}),
        preempt_mode="GANG,SUSPEND",
        requeues=False,
        over_time_limit_min=None,
    )
    assert parse_settings("PrivateData = none\nSchedulerParameters = (null)\n") == Settings()


def test_nodes_with_the_most_idle_cpus_are_tried_first():
    text = (
        "n1|mix|7/1/0/8\nn2|idle|0/8/0/8\nn3|idle*|0/8/0/8\nn4|alloc|8/0/0/8\nn5|drain|0/0/8/8\nn2|idle|0/8/0/8\n"
    )
    assert parse_free_nodes(text) == ["n2", "n1"]
    assert parse_nodes(text) == ["n1", "n2", "n3", "n4", "n5"]
    assert (parse_free_nodes(""), parse_nodes("")) == ([], [])


def test_the_trial_jobs_ask_for_little_and_for_different_nodes():
    pool = Pool(name="p", partition="gpu", account="team")
    place = Place(pool=pool, nodes=["n2"], jobs=2)
    first, second = (script_text(place, name, Path("/f 1"), [Path("/leases")], token="abc") for name in "ab")
    for text in (first, second):
        assert {"#SBATCH --partition=gpu", "#SBATCH --account=team", "#SBATCH --time=2"} <= set(text.splitlines())
        assert not any(flag in text for flag in ("--mem", "--gres", "=B:", "--requeue", "--hold", "--array"))
        assert "--shared /leases" in text
    assert "#SBATCH --nodelist=n2" in first
    assert "#SBATCH --exclude=n2" in second
