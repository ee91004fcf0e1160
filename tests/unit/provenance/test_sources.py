"""Which files belong to a code state, what git tells of it, and what is never taken."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from hpcorch.errors import UsageError
from hpcorch.provenance.code import git
from hpcorch.provenance.code.code_state import Limits, describe
from hpcorch.provenance.code.freeze import freeze
from hpcorch.provenance.code.git import uncommitted_changes
from hpcorch.provenance.code.sources import Project, collect
from hpcorch.provenance.digests import DigestCache
from hpcorch.provenance.inputs import digest_input
from hpcorch.provenance.secrets import secret_by_content, secret_by_name
from tests.support.checkouts import call_git, committed, names, reasons, write

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def _own_git(monkeypatch, tmp_path):
    """Git as if nobody had configured it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def loaded(path: Path) -> dict[str, ModuleType]:
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    return {path.stem: module}


def test_tracked_and_new_files_are_taken_and_ignored_ones_are_not(root):
    committed(root, {"train.py": "", "pkg/a.py": "", "gone.py": "", ".gitignore": "data/\n*.log\n"})
    write(root, {"new.py": "", "data/x.npy": "", "a.log": ""})
    (root / "gone.py").unlink()
    assert names(collect(Project(root=root, is_checkout=True), modules={})) == [
        ".gitignore",
        "new.py",
        "pkg/a.py",
        "train.py",
    ]


def test_an_ignored_module_that_is_loaded_is_taken_wherever_it_lies(root):
    committed(root, {"train.py": "", ".gitignore": "vendor/\n"})
    write(root, {"vendor/deep/tool.py": "v = 1"})
    found = collect(Project(root=root, is_checkout=True), modules=loaded(root / "vendor/deep/tool.py"))
    assert "vendor/deep/tool.py" in names(found)
    assert "vendor/deep/tool.py" not in names(collect(Project(root=root, is_checkout=True), modules={}))


def test_modules_outside_the_project_and_in_its_environment_are_not_taken(root, tmp_path):
    committed(root, {"train.py": "", ".gitignore": ".venv\n"})
    write(root, {".venv/pyvenv.cfg": "", ".venv/lib/x.py": ""})
    modules = {**loaded(root / ".venv/lib/x.py"), **loaded(tmp_path / "other.py"), **loaded(Path(os.__file__))}
    found = collect(Project(root=root, is_checkout=True), modules=modules)
    assert names(found) == [".gitignore", "train.py"]
    assert reasons(found) == {".venv/": "it is an environment of installed packages"}


@pytest.mark.parametrize("in_git", [True, False])
def test_outputs_of_sweeps_and_jobs_are_never_taken(root, in_git):
    files = {
        "train.py": "",
        "multirun/1/.hpcorch/control.jsonl": "",
        "multirun/1/0/result.py": "",
        "outputs/2026/.hydra/config.yaml": "",
        "outputs/2026/train.py": "",
        ".hpcorch/ledger.db": "",
        "pkg/__pycache__/a.pyc": "",
        "old/multirun.yaml": "",
    }
    write(root, files)
    if in_git:
        committed(root, {})
    found = collect(Project(root=root, is_checkout=in_git), modules={})
    assert names(found) == ["train.py"]
    assert set(reasons(found)) == {"multirun/1/", "outputs/2026/", "old/"}


def test_what_jobs_print_is_no_code(root):
    committed(root, {"train.py": "", "slurm-notes.out": ""})
    write(root, dict.fromkeys(("slurm-12.out", "slurm-12_3.out", "jobs/slurm-7.out"), "epoch 1"))
    found = collect(Project(root=root, is_checkout=True), modules={})
    assert (names(found), reasons(found)) == (["slurm-notes.out", "train.py"], {})


def test_a_project_whose_root_is_a_sweep_directory_keeps_its_code(root):
    committed(root, {"train.py": "", ".hpcorch/control.jsonl": "", ".hydra/config.yaml": ""})
    assert "train.py" in names(collect(Project(root=root, is_checkout=True), modules={}))


def test_secrets_and_large_files_are_left_out_with_a_word(root, tmp_path):
    write(
        root, {"train.py": "x", ".env": "A=1", "deploy.pem": "", "conf/credentials.json": "", "credentials.py": ""}
    )
    write(root, {"big.bin": "x" * 200, "note.txt": KEY})
    committed(root, {})
    found = collect(Project(root=root, is_checkout=True), limits=Limits(file_bytes=150), modules={})
    assert set(reasons(found)) == {".env", "deploy.pem", "conf/credentials.json", "big.bin"}
    assert reasons(found)["big.bin"] == "it has 200 bytes, and the limit is 150"
    frozen = freeze(found, state=tmp_path)
    assert {left.path: left.reason for left in frozen.left}["note.txt"] == "it holds what looks like a private key"
    assert frozen.files == 2


@pytest.mark.parametrize("name", ["a/.env", ".ENV.local", "id_rsa", "x.key", "credentials", ".netrc"])
def test_names_that_secrets_have(name):
    assert secret_by_name(name)


@pytest.mark.parametrize("name", ["env.py", ".env.example", "id_rsa.pub", "keys.py", "credentials.py"])
def test_names_that_code_has(name):
    assert not secret_by_name(name)


def test_code_that_speaks_of_private_keys_is_no_private_key():
    assert secret_by_content(KEY.encode())
    assert secret_by_content(b"# mine\r\n" + KEY.replace("\n", "\r\n").encode())
    assert not secret_by_content(b'header = "-----BEGIN RSA PRIVATE KEY-----"\n')
    assert not secret_by_content(b"-----BEGIN CERTIFICATE-----\n")


def test_the_sum_is_limited_and_loaded_modules_come_first(root):
    committed(root, {"a.py": "x" * 60, "b.py": "x" * 60, "z.py": "x" * 60})
    found = collect(
        Project(root=root, is_checkout=True), limits=Limits(total_bytes=130), modules=loaded(root / "z.py")
    )
    assert names(found) == ["a.py", "z.py"]
    assert "more than 130 bytes" in reasons(found)["b.py"]


def test_links_inside_are_kept_and_links_outside_are_not(root, tmp_path):
    (tmp_path / "secret").write_text("")
    write(root, {"pkg/a.py": ""})
    (root / "pkg/same.py").symlink_to("a.py")
    (root / "absolute.py").symlink_to(root / "pkg/a.py")
    (root / "folder").symlink_to("pkg")
    (root / "out.py").symlink_to("../secret")
    (root / "circle").symlink_to("circle")
    committed(root, {})
    found = collect(Project(root=root, is_checkout=True), modules={})
    targets = {source.path: source.target for source in found.files if source.target}
    assert targets == {"pkg/same.py": "a.py", "absolute.py": "pkg/a.py", "folder": "pkg", "circle": "circle"}
    assert reasons(found) == {"out.py": "it is a link that leads out of the project"}


def test_a_module_loaded_through_a_linked_folder_is_taken_where_it_really_is(root):
    committed(root, {"real/a.py": "", ".gitignore": "real\n"})
    (root / "linked").symlink_to("real")
    assert "real/a.py" in names(collect(Project(root=root, is_checkout=True), modules=loaded(root / "linked/a.py")))


def test_a_checkout_below_and_a_submodule_are_part_of_the_code(root, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    committed(inner, {"lib.py": ""})
    committed(root, {"train.py": ""})
    call_git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    (root / "nested").mkdir()
    committed(root / "nested", {"more.py": ""})
    assert names(collect(Project(root=root, is_checkout=True), modules={})) == [
        ".gitmodules",
        "nested/more.py",
        "sub/lib.py",
        "train.py",
    ]


def test_without_git_data_is_left_out_and_the_search_ends(root):
    write(root, {"a.py": "", "conf/x.yaml": "", "x.npz": "", ".cache/y.py": ""})
    found = collect(Project(root=root), modules={})
    assert names(found) == ["a.py", "conf/x.yaml"]
    assert reasons(found) == {"x.npz": "it looks like data by its name, and git does not track it"}
    write(root, {f"m{number}.py": "" for number in range(10)})
    found = collect(Project(root=root), limits=Limits(seen=5), modules={})
    assert "only the first 5 files" in reasons(found)["./"]


def test_pipes_are_left_out_with_a_word(root):
    os.mkfifo(root / "pipe")
    (left,) = collect(Project(root=root), modules={}).left
    assert describe(left) == "pipe is not in the snapshot: it is not a regular file"


# --- git ---


def test_a_clean_checkout_is_told_with_its_commit_and_remote(root):
    committed(root, {"a.py": "", "sub/b.py": ""})
    call_git(root, "remote", "add", "origin", "https://someone:hunter2@example.org/x.git?token=1")
    checkout, changes = git.look(root / "sub")
    assert (checkout.root, checkout.branch, checkout.dirty) == (str(root), "main", False)
    assert len(checkout.commit or "") == 40
    assert checkout.remote == "https://example.org/x.git"
    assert (changes, checkout.diff_digest, checkout.problem) == (b"", None, None)


def test_the_diff_holds_staged_and_unstaged_and_binary_changes_and_can_be_applied(root):
    committed(root, {"a.py": "1\r\n", "b.bin": "", "c.py": "1\n", ".env": "A=1\n"})
    (root / "a.py").write_bytes(b"2\r\n\xff\n")
    (root / "b.bin").write_bytes(bytes(range(256)))
    (root / "c.py").unlink()
    (root / ".env").write_text("A=hunter2\n")
    call_git(root, "add", "b.bin")
    checkout, changes = git.look(root)
    assert checkout.dirty
    assert b"hunter2" not in changes
    call_git(root, "reset", "-q", "--hard")
    subprocess.run(["git", "-C", root, "apply"], input=changes, check=True)
    assert (root / "a.py").read_bytes() == b"2\r\n\xff\n"
    assert (root / "b.bin").read_bytes() == bytes(range(256))
    assert not (root / "c.py").exists()


def test_uncommitted_changes_are_those_of_code_and_not_what_sweeps_wrote(root, monkeypatch):
    committed(root, {"a.py": "1\n", "b.py": "1\n" * 50, "sub/d.py": ""})
    call_git(root, "mv", "b.py", "c.py")
    outputs = ("multirun/today/now/.hpcorch/control.jsonl", ".hpcorch/ledger.db", "slurm-1.out")
    write(root, {"a.py": "2\n", "sub/new.py": "", **dict.fromkeys(outputs, "")})
    assert sorted(uncommitted_changes(root / "sub")) == ["a.py", "c.py", "sub/new.py"]
    monkeypatch.setenv("PATH", "")
    assert uncommitted_changes(root) == []


def test_a_diff_with_a_private_key_is_withheld_and_a_long_one_is_cut(root, tune):
    committed(root, {"a.py": "1\n"})
    write(root, {"a.py": KEY})
    assert git.diff(root) == b"# The changes are left out: they hold what looks like a private key.\n"
    write(root, {"a.py": "x\n" * 1000})
    tune(DIFF_BYTES=100)
    assert git.diff(root)[100:].startswith(b"\n# Cut here: the changes have 3")


def test_before_the_first_commit_nothing_is_known_but_the_branch(root):
    write(root, {"a.py": ""})
    call_git(root, "init", "-q", "-b", "main")
    call_git(root, "add", "a.py")
    checkout, changes = git.look(root)
    assert (checkout.commit, checkout.branch, checkout.dirty, changes) == (None, "main", True, b"")


def test_a_detached_head_has_no_branch_and_a_worktree_is_a_checkout(root, tmp_path):
    committed(root, {"a.py": ""})
    call_git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    checkout, _ = git.look(tmp_path / "tree")
    assert (checkout.root, checkout.branch) == (str(tmp_path / "tree"), None)
    assert checkout.commit == git.look(root)[0].commit


def test_no_checkout_and_no_git_are_answers(root, monkeypatch):
    assert git.look(root)[0] == git.Checkout()
    committed(root, {"a.py": ""})
    monkeypatch.setenv("PATH", "/nowhere")
    checkout, _ = git.look(root)
    assert (checkout.commit, checkout.problem) == (None, "git is not installed here")


def test_a_refusal_of_git_is_an_answer(root, monkeypatch):
    committed(root, {"a.py": ""})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for testing the refusal
    checkout, _ = git.look(root)
    assert checkout.problem == (
        f"git refuses {root}, which belongs to another user: trust it with"
        f" `git config --global --add safe.directory {root}`"
    )
    with pytest.raises(git.GitError, match="which belongs to another user"):
        uncommitted_changes(root)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://token@example.org/x", "https://example.org/x"),
        ("ssh://git:pw@example.org:22/x", "ssh://example.org:22/x"),
        ("git@example.org:x.git", "git@example.org:x.git"),
        ("/srv/x#1.git", "/srv/x#1.git"),
        ("https://example.org/x@y", "https://example.org/x@y"),
    ],
)
def test_remotes_are_told_without_credentials(url, shown):
    assert git.without_credentials(url) == shown


# --- digests ---


def test_a_file_modified_just_now_is_read_again_and_an_old_one_is_not(root, tune):
    path = root / "data"
    path.write_text("1")
    cache = DigestCache(root / "digests.json")
    digest_input(path, cache)
    assert cache.get(str(path), path.stat()) is None
    tune(FILE_CLOCK_NS=-60 * 10**9)
    first = digest_input(path, cache)
    cache.save(only_used=False)
    again = DigestCache(root / "digests.json")
    assert again.get(str(path), path.stat()) == first.digest
    path.write_text("2")
    assert again.get(str(path), path.stat()) is None
    assert digest_input(path, again).digest != first.digest


def test_a_damaged_cache_is_no_cache(root):
    (root / "digests.json").write_text('{"version": 1, "files": {"a": [1]}}')
    (root / "a").write_text("")
    assert DigestCache(root / "digests.json").get("a", (root / "a").stat()) is None


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", 5, None])
def test_an_input_that_is_no_path_is_refused(path):
    with pytest.raises(UsageError, match="must be named by its path"):
        digest_input(path)


def test_a_directory_is_digested_with_names_and_contents(root):
    write(root, {"d/a": "1", "d/e/b": "2"})
    first = digest_input(root / "d")
    assert (first.kind, first.files, first.size) == ("directory", 2, 2)
    (root / "d/a").rename(root / "d/c")
    second = digest_input(root / "d")
    assert second.digest != first.digest
    (root / "d/c").rename(root / "d/a")
    assert digest_input(root / "d") == first
