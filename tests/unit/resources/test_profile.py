"""Site profiles: what is read from them, what is wrong in them, and what a launch may ask of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from hpcorch.errors import NotFoundError, UsageError
from hpcorch.journal.project_search import default_ledger
from hpcorch.resources.profile.file import parse_profile
from hpcorch.resources.profile.profile import CleanGit, Enforcement, Kind, Pool, PoolLimits, Profile
from hpcorch.resources.request import most_at_once, resolve, with_licenses
from hpcorch.services.site.project_profile import find_profile, load_profile, project_at, read_profile
from tests.support.paths import REPOSITORY

EXAMPLES = REPOSITORY / "conf" / "site"
RESOURCES = """
resources:
  scratch_io: {capacity: 4, enforced: license, license: scratch}
  matlab: {capacity: 2, enforced: license}
  writers: {capacity: 8, enforced: throttle}
  staging: {capacity: 3, enforced: lease, directory: /shared/leases, expiry_s: 30}
  a100: {kind: gpu, gpu_type: a100, capacity: 8, enforced: system}
  files: {kind: file_descriptors, capacity: 1024, enforced: system}
"""


def parse(text: str) -> Profile:
    return parse_profile(dedent(text), "site.yaml")


def test_both_examples_are_profiles():
    with_licenses = read_profile(EXAMPLES / "with_licenses.yaml")
    assert with_licenses.resources["scratch_io"].license == "scratch"
    assert with_licenses.resources["matlab"].license == "matlab"
    assert with_licenses.resources["a100"].kind is Kind.GPU
    assert with_licenses.pools["critical"].limits == PoolLimits(
        max_running=16, max_submitted=400, max_gpus=8, max_walltime_min=1440
    )
    assert with_licenses.policies.clean_git is CleanGit.REFUSE
    assert (with_licenses.policies.max_cost, with_licenses.prices.gpu_hour) == (5000, 1.5)
    without = read_profile(EXAMPLES / "without_licenses.yaml")
    assert without.resources["scratch_io"].enforced is Enforcement.THROTTLE
    staging = without.resources["staging"]
    assert (staging.enforced, staging.directory, staging.expiry_s) == (
        Enforcement.LEASE,
        "/shared/hpcorch-leases",
        60,
    )
    assert without.pools["cheap"].options() == {"partition": "preempt", "nice": 100}
    assert (without.headroom, without.policies.partitions) == (10, None)


@pytest.mark.parametrize("text", ["", "# only words\n", "resources:\npools: {}\nenvelope:\n"])
def test_an_empty_profile_limits_nothing(text):
    assert parse(text) == Profile(source="site.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clutser: x", ["line 1", "clutser", "did you mean cluster?"]),
        ("cluster: x\npools:\n  a:\n    partiton: x", ["line 4", "pools.a.partiton", "did you mean partition?"]),
        ("resources:\n  io: {capacity: 4}", ["line 2", "resources.io needs the key enforced"]),
        ("resources:\n  io: {enforced: throttle}", ["resources.io needs the key capacity"]),
        (
            "resources:\n  io:\n    capacity: 0\n    enforced: throttle",
            ["line 3", "resources.io.capacity", "at least 1", "0"],
        ),
        ("resources:\n  io: {capacity: 2.5, enforced: throttle}", ["whole number", "2.5"]),
        ("resources:\n  io: {capacity: yes, enforced: throttle}", ["whole number", "yes"]),
        ("resources:\n  io: {capacity: four, enforced: throttle}", ["whole number", "'four'"]),
        ("resources:\n  io: {capacity: [4], enforced: throttle}", ["whole number", "a mapping or list"]),
        ("resources:\n  io: {capacity: 4, enforced: licence}", ["license, throttle", "did you mean license?"]),
        ("resources:\n  io: {capacity: 4, enforced: lease}", ["needs the key directory"]),
        ("resources:\n  io: {capacity: 4, enforced: lease, directory: leases}", ["absolute path", "'leases'"]),
        ("resources:\n  io: {capacity: 4, enforced: throttle, license: x}", ["only if enforced is license"]),
        ("resources:\n  io: {capacity: 4, enforced: throttle, gpu_type: x}", ["only if kind is gpu"]),
        ("resources:\n  io: {capacity: 4, enforced: license, license: 'a:2'}", ["name of a licence", "'a:2'"]),
        ("resources:\n  'a b': {capacity: 4, enforced: throttle}", ["line 2", "has an invalid name"]),
        *(
            (
                f"resources:\n  io: {{enforced: throttle, capacity: {value}}}",
                ["line 2", "resources.io.capacity", words],
            )
            for value, words in {
                "!!bool foo": "not foo",
                '!!int ""': "not ''",
                "1:30": "not 1:30; write it in decimal digits",
                "010": "not 010; write it in decimal digits",
                "0x10": "not 0x10; write it in decimal digits",
                "1000000001": "at most 1000000000, not 1000000001",
                "9" * 5000: "at most 1000000000, not 9999",
            }.items()
        ),
        (
            f"resources:\n  io: {{capacity: 4, enforced: lease, directory: /x, expiry_s: {'9' * 400}}}",
            ["resources.io.expiry_s", "at most 1000000000"],
        ),
        (f"prices: {{gpu_hour: {'9' * 400}}}", ["line 1", "prices.gpu_hour", "a number of at least 0"]),
        ("prices: {gpu_hour: 1:30}", ["prices.gpu_hour", "decimal digits"]),
        ("[" * 5000, ["nested too deeply"]),
        (f"a: {'[' * 3000}{']' * 3000}", ["nested too deeply"]),
        ('cluster: "\\UFFFFFFFF"', ["not YAML"]),
        ("resources: [io]", ["resources must be a mapping"]),
        ("resources:\n  ? [a]\n  : 3", ["has a key that is not text"]),
        ("headroom: 1\ncluster: a\nheadroom: 2", ["line 3", "headroom", "is given twice (first on line 1)"]),
        ("pools:\n  a: {nice: low}", ["pools.a.nice must be a whole number, not 'low'"]),
        ("pools:\n  a: {limits: {max_runing: 3}}", ["pools.a.limits.max_runing", "did you mean max_running?"]),
        ("pools:\n  a: {account: [x]}", ["pools.a.account must be text"]),
        ('pools:\n  a: {account: "x\\ny"}', ["on one line"]),
        ("envelope: {max_gpu_hours: -1}", ["envelope.max_gpu_hours must be a number of at least 0"]),
        ("envelope: {max_gpu_hours: .nan}", ["must be a number of at least 0"]),
        ("policies: {clean_git: always}", ["must be one of refuse, warn, ignore"]),
        ("policies: {partitions: normal}", ["policies.partitions must be a list"]),
        ("policies: {max_cost: 5}", ["policies.max_cost needs prices"]),
        ("policies: {partitions: [a]}\npools:\n  p:\n    partition: b", ["line 4", "policies.partitions does not"]),
        ("- a\n", ["must be a mapping"]),
        ("cluster: [a", ["line", "not YAML"]),
        ("cluster: a\n\tb: c", ["line 2", "not YAML"]),
        ("cluster: a\x07", ["not YAML"]),
        ("a: &x {b: *x}", ["a is not a known key"]),
        ("cluster: !!python/object:os.system {}", ["cluster must be text"]),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(text, words):
    with pytest.raises(UsageError) as caught:
        parse_profile(text, "site.yaml")
    message = str(caught.value)
    assert message.startswith("site.yaml")
    for word in words:
        assert word in message


def test_text_that_yaml_would_read_as_a_number_stays_text():
    profile = parse("cluster: 42\npools:\n  gpu: {account: 007, partition: on}")
    assert profile.cluster == "42"
    assert profile.pools["gpu"] == Pool(name="gpu", account="007", partition="on")


def test_a_request_is_sorted_by_who_enforces_it():
    request = resolve(parse(RESOURCES), {"scratch_io": 2, "matlab": 1, "writers": 3, "staging": 1})
    assert request.licenses == {"scratch": 2, "matlab": 1}
    assert (request.throttles, request.leases) == ({"writers": 3}, {"staging": 1})
    assert most_at_once(parse(RESOURCES), request) == {"writers": 2}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scratchio": 1}, "no resource 'scratchio'; did you mean scratch_io?"),
        ({"scratch_io": 9}, "asks for 9 of scratch_io, whose capacity is 4: no run could ever start"),
        ({"writers": 0}, "resources.writers must be a whole number of at least 1, not 0"),
        ({"a100": 1}, "gpus_per_node"),
        ({"files": 1}, "need not ask"),
    ],
)
def test_a_request_that_could_never_be_met_is_refused(asked, words):
    with pytest.raises(UsageError, match=words.replace("?", r"\?").replace("(", r"\(")):
        resolve(parse(RESOURCES), asked)


@pytest.mark.parametrize(("written", "hours"), [("0", 0), ("2.50", 2.5), (".5", 0.5), ("1.5e+3", 1500), ("7", 7)])
def test_a_price_may_be_written_in_any_decimal_form(written, hours):
    assert parse(f"prices: {{gpu_hour: {written}}}").prices.gpu_hour == hours


def test_without_a_profile_no_resource_is_known_and_the_cure_is_said():
    with pytest.raises(UsageError, match="hpcorch init"):
        resolve(Profile(), {"scratch_io": 1})
    assert resolve(Profile(), {}).licenses == {}


def test_licences_of_resources_join_those_that_are_asked_for():
    assert with_licenses(None, {}) is None
    assert with_licenses(None, {"scratch": 2}) == {"scratch": 2}
    assert with_licenses({"matlab": 1}, {"scratch": 2}) == {"matlab": 1, "scratch": 2}
    assert with_licenses("matlab@server:1", {"scratch": 2}) == "matlab@server:1,scratch:2"
    assert with_licenses("matlab", {}) == "matlab"


@pytest.mark.parametrize("asked", [{"scratch": 1}, "scratch:1", "matlab, scratch:1", "matlab|scratch"])
def test_a_licence_that_is_asked_for_twice_is_refused(asked):
    with pytest.raises(UsageError, match="licenses"):
        with_licenses(asked, {"scratch": 2})


def test_an_unknown_pool_is_named_with_those_that_there_are():
    profile = parse("pools:\n  critical: {partition: urgent}")
    assert profile.pool("critical").partition == "urgent"
    with pytest.raises(UsageError, match=r"no pool 'critcal'; did you mean critical\?"):
        profile.pool("critcal")
    with pytest.raises(UsageError, match="no file was found"):
        Profile().pool("critical")


@pytest.mark.parametrize(
    ("limits", "gpus", "runs"),
    [
        (PoolLimits(), 2, None),
        (PoolLimits(max_running=9), 2, 9),
        (PoolLimits(max_gpus=8), 2, 4),
        (PoolLimits(max_gpus=8), 0, None),
        (PoolLimits(max_gpus=8, max_running=3), 2, 3),
    ],
)
def test_a_pool_lets_run_at_once_what_its_limits_on_runs_and_gpus_allow(limits, gpus, runs):
    assert limits.at_once(gpus) == runs


def test_the_first_profile_found_wins(tmp_path, monkeypatch):
    home, project = tmp_path / "home", tmp_path / "project"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    named = tmp_path / "named.yaml"
    places = [home / ".config" / "hpcorch" / "site.yaml", project / ".hpcorch" / "site.yaml", named]
    assert find_profile(project, {}) in (None, Path("/etc/hpcorch/site.yaml"))
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"cluster: {place.parent.name}\n")
        environ = {"HPCORCH_SITE": str(named)} if place == named else {}
        assert find_profile(project, environ) == place
        assert load_profile(project, environ).cluster == place.parent.name
    with pytest.raises(NotFoundError, match="HPCORCH_SITE"):
        find_profile(project, {"HPCORCH_SITE": str(tmp_path / "missing")})


def test_the_project_is_where_its_ledger_or_profile_is_not_a_sweeps_folder(tmp_path):
    sweep = tmp_path / "multirun" / "2026"
    (sweep / ".hpcorch").mkdir(parents=True)
    assert project_at(sweep) == sweep
    (tmp_path / ".git").mkdir()
    assert project_at(sweep) == tmp_path
    (tmp_path / "multirun" / ".hpcorch").mkdir()
    (tmp_path / "multirun" / ".hpcorch" / "ledger.db").touch()
    assert project_at(sweep) == tmp_path / "multirun"


@pytest.mark.parametrize("mark", [".hpcorch/ledger.db", ".hpcorch/site.yaml", ".hpcorch/inbox", ".git"])
def test_what_lies_in_a_folder_that_everybody_writes_to_serves_that_folder_alone(tmp_path, mark):
    below = tmp_path / "mine" / "deep"
    below.mkdir(parents=True)
    (tmp_path / mark).mkdir(parents=True)
    assert default_ledger(below) == tmp_path / ".hpcorch" / "ledger.db"
    tmp_path.chmod(0o1777)
    assert (default_ledger(below), project_at(below)) == (below / ".hpcorch" / "ledger.db", below)
    assert default_ledger(tmp_path) == tmp_path / ".hpcorch" / "ledger.db"


def test_a_file_that_is_not_text_is_no_profile(tmp_path):
    (tmp_path / "site.yaml").write_bytes(b"cluster: \xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        read_profile(tmp_path / "site.yaml")
