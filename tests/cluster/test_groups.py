"""A project that alice shares with bob, and carol beside them: on real daemons, with real groups."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch import process
from tests.cluster.conftest import Lab
from tests.support.waiting import wait_until

GROUP = "hpcorch-lab"
APP = """
import pathlib, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    print("begun", flush=True)
    while not pathlib.Path(cfg.go).exists():
        time.sleep(0.1)
    return cfg.x

main()
"""


@dataclass(frozen=True)
class User:
    """Somebody who works in the project's folder."""

    name: str
    own: Path
    lab: Lab
    project: Path

    def __call__(self, *argv: str, umask: str = "022") -> process.Finished:
        variables = ("HPCORCH_STATE", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
        env = {name: str(self.own / name) for name in variables}
        words = ["sh", "-c", f'umask {umask}; exec "$@"', "sh", *argv]
        done = self.lab.user(self.name, words, cwd=self.project, env=env, timeout_s=120)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def launch(self, go: str, umask: str) -> str:
        """Launch a sweep that waits for a file; its id."""
        options = ("hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true", "hydra.launcher.timeout_min=5")
        done = self("python", "app.py", "-m", "+x=1,2", f"+go={self.own / go}", *options, umask=umask)
        assert done.returncode == 0, done.stderr
        return next(one["sweep"] for one in self.sweeps() if one["user"] == self.name)

    def sweeps(self) -> list[dict[str, str]]:
        return json.loads(self("hpcorch", "ls", "--json").stdout)  # type: ignore[no-any-return]

    def state(self, sweep: str) -> str:
        return next(one["state"] for one in self.sweeps() if one["sweep"] == sweep)


@pytest.fixture
def user(lab: Lab, workspace: Path) -> Iterator[Callable[[str], User]]:
    (workspace / "app.py").write_text(APP)
    folders: list[Path] = []

    def made(name: str) -> User:
        folders.append(own := Path(tempfile.mkdtemp(prefix=f"{name}-", dir=lab.work)))
        own.chmod(0o755)
        shutil.chown(own, name, name)
        return User(name=name, own=own, lab=lab, project=workspace)

    yield made
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def test_members_of_a_group_see_each_others_sweeps_and_control_their_own(user, lab):
    alice, bob = user("alice"), user("bob")
    assert alice("hpcorch", "init", "--group", GROUP).returncode == 0
    assert bob("hpcorch", "init", "--group", GROUP).returncode == 0
    hers, his = alice.launch("go", "077"), bob.launch("go", "000")
    wait_until(lambda: (bob.state(hers), alice.state(his)) == ("RUNNING", "RUNNING"), timeout_s=120)
    assert "begun" in bob("hpcorch", "logs", f"{hers}/0").stdout
    for command in (["cancel", "--yes", hers], ["hold", hers], ["retry", hers], ["tend", hers]):
        done = bob("hpcorch", *command)
        assert (done.returncode, f"sweep {hers} is alice's" in done.stderr) == (2, True), done
    refreshed = bob("hpcorch", "status", hers, "--refresh")
    assert "only alice, who submitted it, can ask Slurm" in " ".join(refreshed.stderr.split())
    assert alice("hpcorch", "cancel", "--yes", hers).returncode == 0
    wait_until(lambda: alice("hpcorch", "status", hers, "--refresh", "--json").stdout.count('"CANCELLED"') >= 2)
    assert bob.state(hers) == "CANCELLED"
    bob("touch", str(bob.own / "go"))
    wait_until(lambda: alice.state(his) == "COMPLETED", timeout_s=120)
    for path in [*(alice.project / "multirun").rglob(".hpcorch")]:
        for inside in (path, *path.rglob("*")):
            mode = stat.S_IMODE(inside.stat().st_mode)
            private = inside == path / "variables.json"
            assert (inside.group(), oct(mode)) == (
                GROUP,
                oct(0o600 if private else 0o2750 if inside.is_dir() else 0o640),
            ), inside


def test_somebody_else_submits_in_alices_folder_and_has_a_ledger_elsewhere(user):
    alice, carol = user("alice"), user("carol")
    assert alice("hpcorch", "init", "--group", GROUP).returncode == 0
    assert "you are not in group" in carol("hpcorch", "init", "--group", GROUP).stderr
    output = carol.own / "output"
    done = carol("hpcorch", "sbatch", "--parsable", "--wait", f"--output={output}", "--wrap", "id -un")
    assert (done.returncode, output.read_text()) == (0, "carol\n"), done
    assert f"recorded in {carol.own}/XDG_DATA_HOME/hpcorch/projects" in " ".join(done.stderr.split())
    assert [one["user"] for one in carol.sweeps()] == ["carol"]
    assert carol("hpcorch", "exec", "--", "true").returncode == 0
