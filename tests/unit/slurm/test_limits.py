"""Limits, licences, partitions and GPUs as Slurm's commands print them on each release, and what follows from them.

The captured site: QOS small (600 submitted, 50 running per user), tiny (per account 3, OverPartQOS), account lab
(5000 submitted by all together) with account team below it (2000 for each), and an association of alice with team
in partition urgent alone (7), whose QOS is small.
"""

from __future__ import annotations

import pytest

from hpcorch.errors import UsageError
from hpcorch.slurm.answers import limits, scontrol
from hpcorch.slurm.answers.licenses import check_licenses, parse_asked, runs_at_once
from hpcorch.slurm.answers.limits import Association, Counts, Qos, association_of, limits_for
from hpcorch.slurm.answers.scontrol import License
from tests.support.paths import DATA

DATA = DATA / "slurm"
RELEASES = sorted(path.name for path in DATA.iterdir())
LICENSES = [
    License(name="scratch", total=4, used=3, free=1, reserved=0, remote=False),
    License(name="matlab", total=2, used=0, free=2, reserved=1, remote=False),
    License(name="nastran@flex", total=25, used=0, free=25, reserved=0, remote=True),
]


@pytest.fixture(params=RELEASES)
def captured(request):
    return lambda name: (DATA / request.param / f"{name}.txt").read_text(encoding="utf-8")


@pytest.fixture
def site(captured):
    def ask(*, account="lab", partition=None, qos=None, partition_qos=None):
        default, associations = limits.parse_user(captured("associations"))
        assert default == "lab"
        mine = association_of(associations, account=account, partition=partition)
        return limits_for(
            mine,
            limits.parse_accounts(captured("accounts")),
            limits.parse_qos(captured("qos")),
            max_array_size=1001,
            qos=qos,
            partition_qos=partition_qos,
        )

    return ask


def test_a_qos_decides_before_the_association(site):
    found = site(account="team")  # its default QOS is small
    assert (found.max_submit, found.max_running, found.max_array_size) == (600, 50, 1001)
    assert found.source == "600 submitted by QOS small, 50 running by QOS small"


def test_without_a_limit_of_the_qos_the_association_decides_with_the_accounts_above_it(site):
    found = site(account="team", qos="normal")
    assert (found.max_submit, found.max_running) == (2000, 100)
    assert "2000 submitted by the association of alice with team" in found.source
    assert (site().max_submit, site().max_running) == (5000, 400)
    assert "5000 submitted by account lab" in site().source


def test_an_association_with_one_partition_counts_there_alone(site):
    assert site(account="team", partition="urgent", qos="normal").max_submit == 7
    assert site(account="team", partition="normal", qos="normal").max_submit == 2000


def test_the_qos_of_the_partition_comes_first_unless_the_jobs_overrides_it(site):
    assert site(qos="normal", partition_qos="small").max_submit == 600
    assert site(qos="tiny", partition_qos="small").max_submit == 3  # tiny has the flag OverPartQOS
    swapped = site(qos="small", partition_qos="tiny")
    assert swapped.max_submit == 3  # per account, which small does not set
    assert swapped.max_running == 2


def test_a_limit_per_account_of_the_qos_hides_the_associations_own():
    qos = Qos(name="q", submitted=Counts(account=6), running=Counts())
    mine = association(submitted=Counts(each=3))
    assert limits_for(mine, [], [qos], max_array_size=1001, qos="q").max_submit == 6


def association(**more) -> Association:
    values = {
        "account": "lab",
        "user": "alice",
        "parent": "",
        "partition": "",
        "qos": ("normal",),
        "default_qos": "",
    }
    return Association(**{**values, "submitted": Counts(), "running": Counts(), **more})


def test_who_has_no_association_or_no_limit_is_not_limited():
    assert association_of([], account=None, partition=None) is None
    found = limits_for(None, [], [], max_array_size=1001)
    assert (found.max_submit, found.max_running, found.source) == (None, None, "no limit is set")


def test_accounts_that_go_round_in_a_circle_end():
    own = [association(user="", account=name, parent=up) for name, up in (("lab", "b"), ("b", "lab"))]
    assert limits_for(association(), own, [], max_array_size=1001).max_submit is None


def test_a_zero_is_a_limit():
    assert limits_for(association(submitted=Counts(each=0)), [], [], max_array_size=9).max_submit == 0


@pytest.mark.parametrize("row", ["||alice|||0|0|0|0||\n", "||alice||||||||\n"])
def test_a_user_of_another_cluster_is_not_limited_to_nothing(row):
    assert limits.parse_user(row) == (None, [])


@pytest.mark.parametrize("text", ["", "sacctmgr: error: no\n", "a|b\n"])
def test_foreign_lines_are_no_limits(text):
    assert limits.parse_qos(text) == []
    assert limits.parse_accounts(text) == []
    assert limits.parse_user(text) == (None, [])


def test_partitions_tell_default_state_time_limit_and_qos(captured):
    found = {one.name: one for one in scontrol.parse_partitions(captured("partitions"))}
    assert list(found) == ["normal", "preempt", "cancelp", "urgent"]
    assert (found["normal"].default, found["normal"].up, found["normal"].max_minutes) == (True, True, None)
    assert (found["normal"].qos, found["normal"].nodes) == (None, 4)
    assert (found["urgent"].qos, found["urgent"].max_minutes, found["urgent"].default) == ("small", 2880, False)


def test_gpus_are_counted_once_a_node(captured):
    assert scontrol.parse_gpus(captured("nodes")) == {"a100": 8}


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:2", {"": 2}),
        ("gpu:a100:2(S:0-1),nvme:1", {"a100": 2}),
        ("nvme:1,gpu:h100:4(S:0)", {"h100": 4}),
        ("gpu:a100:1,gpu:h100:2", {"a100": 1, "h100": 2}),
        ("(null)", {}),
        ("shard:8", {}),
    ],
)
def test_gpus_are_found_among_other_resources(gres, gpus):
    assert scontrol.parse_gpus(f"n1|normal*|{gres}\nn1|long|{gres}\n") == gpus


def test_reservations_are_named(captured):
    assert scontrol.parse_reservations(captured("reservations")) == ["demo"]
    assert scontrol.parse_reservations("No reservations in the system\n") == []


def test_remote_licences_have_their_server_in_the_name(captured):
    found = {one.name: one for one in scontrol.parse_licenses(captured("licenses-remote"))}
    assert (found["nastran@flex"].total, found["nastran@flex"].remote) == (25, True)
    assert not found["scratch"].remote


def test_the_controllers_limits_are_read_with_slurms_defaults():
    text = "MaxJobCount = 20000\nAccountingStorageEnforce = associations,limits,qos\n"
    assert (scontrol.parse_config(text).max_job_count, scontrol.parse_config(text).enforces_limits) == (20000, True)
    plain = scontrol.parse_config("AccountingStorageEnforce = associations\n")
    assert (plain.max_job_count, plain.enforces_limits) == (10000, False)


def test_licences_tell_how_many_runs_can_hold_them_at_once_and_now():
    (fit,) = check_licenses({"scratch": 2}, LICENSES, "22.05.8")
    assert (fit.at_once, fit.now, fit.total, fit.free) == (2, 0, 4, 1)
    fits = check_licenses("scratch:1,matlab:1", LICENSES, "22.05.8")
    assert [fit.at_once for fit in fits] == [4, 1], "what is reserved is others'"
    assert runs_at_once(fits) == 1
    assert runs_at_once(()) is None


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        (None, {}),
        ("scratch", {"scratch": 1}),
        ("scratch:2, matlab:1", {"scratch": 2, "matlab": 1}),
        ("nastran@flex:3", {"nastran@flex": 3}),
        ("scratch:1;matlab:1", {"scratch": 1, "matlab": 1}),
    ],
)
def test_requests_for_licences_are_read_as_slurm_reads_them(asked, counts):
    assert parse_asked(asked) == (counts, False)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("scrach:1", "no licence 'scrach'; did you mean scratch?"),
        ("nastran:1", "did you mean nastran@flex?"),
        ({"tape": 1}, "no licence 'tape'; it has scratch, matlab"),
        ({"scratch": 9}, "asks for 9 of the licence scratch, of which the cluster has 4: no run could ever start"),
        ("scratch:1:2", "cannot be read"),
        ("scratch:1,matlab:1|scratch:2", "mixes"),
        ("scratch:1|matlab:1", "from release 26.05 on, and this cluster has 24.11.5"),
    ],
)
def test_licences_that_no_run_could_get_are_refused(asked, words):
    with pytest.raises(UsageError) as caught:
        check_licenses(asked, LICENSES, "24.11.5")
    assert words in str(caught.value)


def test_a_cluster_without_licences_says_so():
    with pytest.raises(UsageError, match="scontrol show licenses"):
        check_licenses("scratch", [], "22.05.8")


def test_alternatives_need_one_that_can_be_had():
    fits = check_licenses("scratch:1|matlab:9", LICENSES, "26.05.5")
    assert [fit.name for fit in fits] == ["scratch"]
    both = check_licenses("scratch:2|matlab:1", LICENSES, "26.05.5")
    assert runs_at_once(both, alternatives=True) == 3
    with pytest.raises(UsageError, match="no licence 'a'"):
        check_licenses("a|b", LICENSES, "26.05.5")
