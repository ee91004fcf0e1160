"""Several users and one project: what each sees of the others' sweeps, and what nobody can do to them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None, reason="it takes root to be several users"
    ),
]

GROUP = 2_000_009
ALICE, BOB, CAROL = 2_000_001, 2_000_002, 2_000_003  # carol is not in the group; the machine knows none of them
PROGRAM = """
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    import hpcorch
    print("printed by alice's program")
    hpcorch.current_run().save(1, {"seed": cfg.seed})
    return cfg.seed

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class User:
    """Somebody with a home, who works in the project's folder."""

    uid: int
    home: Path
    project: Path

    def run(self, *argv: str, mask: int = 0o022) -> subprocess.CompletedProcess[str]:
        groups = str(self.uid if self.uid == CAROL else GROUP)
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={groups}"]
        path = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin"
        return subprocess.run(
            [*become, *argv],
            cwd=self.project,
            env={"PATH": path, "HOME": str(self.home), "LC_ALL": "C.UTF-8"},
            umask=mask,
            text=True,
            capture_output=True,
            timeout=120,
        )

    def hpcorch(self, *arguments: str, mask: int = 0o022) -> subprocess.CompletedProcess[str]:
        done = self.run("hpcorch", *arguments, mask=mask)
        assert "Traceback" not in done.stderr
        return done

    def sweeps(self) -> dict[str, str]:
        """The sweeps that the user's ledger of the folder has: whose each is."""
        return {one["sweep"]: one["user"] for one in json.loads(self.hpcorch("ls", "--json").stdout)}


@dataclass(frozen=True)
class Lab:
    """A project that alice shares with the group, with a sweep of hers in it."""

    alice: User
    bob: User
    carol: User

    @property
    def project(self) -> Path:
        return self.alice.project


def user(uid: int, folder: Path) -> User:
    (home := folder / str(uid)).mkdir(mode=0o700)
    os.chown(home, uid, uid)
    return User(uid=uid, home=home, project=folder / "project")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="hpcorch-group-", dir="/tmp") as name:
        (folder := Path(name)).chmod(0o755)
        (project := folder / "project").mkdir()
        (project / "app.py").write_text(PROGRAM)
        (project / "conf").mkdir()
        (project / "conf" / "config.yaml").write_text("seed: 0\n")
        for path in (project, project / "conf"):
            os.chown(path, ALICE, ALICE)
        made = Lab(alice=user(ALICE, folder), bob=user(BOB, folder), carol=user(CAROL, folder))
        if made.carol.run("python", "-c", "import hpcorch.cli.main").returncode != 0:
            pytest.skip(f"other users cannot read {REPOSITORY} and {sys.prefix}")
        # What she has run before is for her alone, until she shares it.
        assert made.alice.hpcorch("exec", "--", "echo", "before", mask=0o077).returncode == 0
        assert made.alice.hpcorch("init", "--group", str(GROUP)).returncode in (0, 3)  # there may be no Slurm
        words = ["app.py", "-m", "hydra/launcher=hpcorch_local", "seed=1"]
        launched = made.alice.run("python", *words, mask=0o077)
        assert launched.returncode == 0, launched.stderr
        yield made


@pytest.fixture(scope="module")
def joined(lab: Lab) -> Lab:
    before = lab.bob.hpcorch("ls")
    assert before.returncode == 2
    assert f"run `hpcorch init --group {GROUP}` in {lab.project}" in " ".join(before.stderr.split())
    done = lab.bob.hpcorch("init", "--group", str(GROUP))
    assert (done.returncode, done.stderr) == (0, "")
    assert lab.bob.hpcorch("exec", "--", "echo", "of", "bob", mask=0o077).returncode == 0
    return lab


def test_each_member_sees_the_sweeps_of_all(joined: Lab) -> None:
    of_all = joined.bob.sweeps()
    assert sorted(of_all.values()) == [str(ALICE), str(ALICE), str(BOB)]
    assert joined.alice.sweeps() == of_all
    assert str(ALICE) in joined.alice.hpcorch("show", "last").stdout  # the last one of her own
    hers = [sweep for sweep, user in of_all.items() if user == str(ALICE)]
    for command in ("status", "audit"):
        for sweep in hers:
            done = joined.bob.hpcorch(command, sweep)
            assert (done.returncode, "COMPLETED" in done.stdout or "as recorded" in done.stdout) == (0, True), done
    assert "printed by alice's program" in joined.bob.hpcorch("logs", hers[0]).stdout


def test_each_member_acts_on_their_own_sweeps_alone(joined: Lab) -> None:
    hers = next(sweep for sweep, user in joined.bob.sweeps().items() if user == str(ALICE))
    for command in (["cancel", "--yes", hers], ["retry", hers], ["tend", hers]):
        done = joined.bob.hpcorch(*command)
        assert (done.returncode, f"sweep {hers} is {ALICE}'s" in done.stderr) == (2, True), done
    for command in (["cancel", "--yes", "last"], ["retry", "last"]):
        done = joined.alice.hpcorch(*command)
        assert (done.returncode, "there is nothing to" in done.stderr) == (0, True), done


def test_a_project_is_the_groups_and_a_sweeps_record_its_owners(joined: Lab) -> None:
    """Under umasks that would give the group nothing, and those that would give everybody everything."""
    assert joined.bob.hpcorch("exec", "--", "echo", "again", mask=0).returncode == 0
    state = joined.project / ".hpcorch"
    for path in (state, *state.rglob("*")):
        status = path.lstat()
        of_sweep = "scripts" in path.relative_to(state).parts[:-1]
        expected = (0o2750 if of_sweep else 0o2770) if path.is_dir() else (0o640 if of_sweep else 0o660)
        if path.name.startswith("digests-"):
            expected = 0o640
        elif path == state / "scripts":
            expected = 0o3770  # nobody removes another's sweeps
        assert (status.st_gid, oct(stat.S_IMODE(status.st_mode))) == (GROUP, oct(expected)), path
    (sweep,) = (path.parent for path in (joined.project / "multirun").rglob(".hpcorch"))
    for path in (sweep, *(sweep / ".hpcorch").rglob("*")):
        expected = 0o2750 if path.is_dir() else 0o640
        assert (path.stat().st_gid, oct(stat.S_IMODE(path.stat().st_mode))) == (GROUP, oct(expected)), path
    assert list((sweep / ".hpcorch").rglob("*.ckpt"))


def test_a_member_who_joins_again_puts_right_what_belongs_to_them(joined: Lab) -> None:
    ledger = joined.project / ".hpcorch" / "ledger.db"
    known = joined.bob.sweeps()
    os.chown(ledger, BOB, -1)  # as if bob had made it
    ledger.chmod(0o600)
    refused = joined.alice.hpcorch("ls")
    assert refused.returncode == 3
    assert "`hpcorch init --group NAME`" in " ".join(refused.stderr.split())
    assert joined.bob.hpcorch("init", "--group", str(GROUP)).returncode == 0
    assert joined.alice.sweeps() == known


def test_somebody_outside_the_group_runs_things_and_has_a_ledger_elsewhere(joined: Lab) -> None:
    done = joined.carol.hpcorch("exec", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert f"recorded in {joined.carol.home}/.local/share/hpcorch/projects/project-" in done.stderr
    assert list(joined.carol.sweeps().values()) == [str(CAROL)]
    refused = joined.carol.hpcorch("init", "--group", str(GROUP))
    assert (refused.returncode, f"you are not in group {GROUP}" in refused.stderr) == (2, True)
    named = joined.carol.hpcorch("--ledger", str(joined.project / ".hpcorch/ledger.db"), "ls")
    assert named.returncode in (2, 3)


def test_a_member_is_told_when_a_project_is_not_shared_any_more(joined: Lab) -> None:
    state = joined.project / ".hpcorch"
    state.chmod(0o700)
    try:
        assert f"{state} belongs to {ALICE}" in joined.bob.hpcorch("ls").stderr
        refused = joined.bob.hpcorch("init", "--group", str(GROUP))
        assert (refused.returncode, f"only {ALICE} can share it" in refused.stderr) == (2, True)
    finally:
        joined.alice.hpcorch("init", "--group", str(GROUP))
    assert len(joined.bob.sweeps()) >= 3
