"""Two users in a folder like /scratch, and what the victim's commands do after an attack. Used by hostile.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

VICTIM, ATTACKER, GROUP = 2_100_001, 2_100_002, 2_100_009  # the machine knows none of them
SECRET = b"what nobody but the victim may know"
COMMAND_LIMIT_S = 180  # a lock of a host that is silent takes a lease and a look at it
ORDINARY: tuple[tuple[str, ...], ...] = (
    ("ls", "--json"),
    ("status",),
    ("show", "last/0", "--json"),
    ("collect", "last", "--json"),
    ("audit", "last"),
    ("tend",),
    ("logs", "last/0"),
    ("retry", "last", "--dry-run"),
)

PROGRAM = """\
import hydra
{payload}
@hydra.main(version_base=None, config_path=None)
def main(cfg):
    import hpcorch
    run = hpcorch.current_run()
    run.restore()
    run.save(1, {{"seed": cfg.seed}})
    if cfg.seed == 3:
        raise ValueError("the third")
    return {{"seed": cfg.seed, "text": "x" * 70_000 if cfg.seed == 2 else ""}}
if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command of the victim's did. ``code`` is None if it went on for too long."""

    words: tuple[str, ...]
    code: int | None
    out: str
    err: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """The folder of the campaign; it is put back before each attack.

    :param cwd: where the victim works
    :param commands: what the victim does after the attack
    :param retries: whether runs that failed are executed again, last
    :param is_lost: whether ``ledger adopt`` is to bring everything back
    :param was_rewritten: whether the record was another one before the ledger had it, so that states say nothing
    """

    base: Path
    pristine: Path
    cwd: Path = Path()
    commands: list[tuple[str, ...]] = field(default_factory=list)
    retries: bool = False
    is_lost: bool = False
    was_rewritten: bool = False

    @property
    def scratch(self) -> Path:
        """Where everybody can write."""
        return self.base / "scratch"

    @property
    def project(self) -> Path:
        return self.scratch / "project"

    @property
    def ledger(self) -> Path:
        return self.project / ".hpcorch" / "ledger.db"

    @property
    def sweep(self) -> Path:
        return _sweep_of(self.project)

    @property
    def record(self) -> Path:
        return self.sweep / ".hpcorch"

    @property
    def theirs(self) -> Path:
        """The attacker's project, with a sweep."""
        return self.scratch / "theirs"

    @property
    def their_sweep(self) -> Path:
        return _sweep_of(self.theirs)

    @property
    def secret(self) -> Path:
        return self.home(VICTIM) / "secret"

    @property
    def marker(self) -> Path:
        return self.base / "marker"

    @property
    def payload(self) -> str:
        """Python that leaves a mark with the uid that executed it."""
        return f"import os, pathlib; pathlib.Path({str(self.marker)!r}, str(os.getuid())).touch()"

    def home(self, uid: int) -> Path:
        return self.scratch / f"home-{uid}"

    def restore(self) -> None:
        """Everything as it was after the launches."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.pristine), str(self.scratch)], check=True)
        shutil.rmtree(self.marker, ignore_errors=True)
        self.marker.mkdir()
        self.marker.chmod(0o1777)
        self.cwd, self.commands = self.project, list(ORDINARY)
        self.retries = self.is_lost = self.was_rewritten = False

    def run(self, uid: int, words: Sequence[str], cwd: Path) -> Said:
        """A program as one of the users."""
        environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
            "HOME": str(self.home(uid)),
            "TMPDIR": str(self.scratch / "tmp"),
            "LOGNAME": str(VICTIM),
            "LC_ALL": "C.UTF-8",
        }
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={GROUP}"]
        with subprocess.Popen(
            [*become, *words], cwd=cwd, env=environ, umask=0o022, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=COMMAND_LIMIT_S)
                code: int | None = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                out, err = process.communicate()
                code = None
        return Said(
            words=tuple(words), code=code, out=out.decode(errors="replace"), err=err.decode(errors="replace")
        )

    def hpcorch(self, *words: str, uid: int = VICTIM, cwd: Path | None = None) -> Said:
        program = words if words[0] == "python" else ("hpcorch", *words)
        return self.run(uid, program, cwd or self.cwd)

    def give(self, *paths: Path, uid: int = ATTACKER) -> None:
        """Make them one user's, with all that is in them; links are not followed."""
        for path in paths:
            inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
            for one in (path, *inner):
                os.chown(one, uid, uid, follow_symlinks=False)


@contextmanager
def prepared_stage() -> Iterator[Stage]:
    """Both users have launched a sweep, each in a project of their own.

    :raises RuntimeError: they cannot
    """
    with tempfile.TemporaryDirectory(prefix="hpcorch-hostile-") as name:
        (base := Path(name).resolve()).chmod(0o755)
        (base / "kept").mkdir(mode=0o700)
        stage = Stage(base=base, pristine=base / "kept" / "scratch")
        for folder in (stage.scratch, stage.scratch / "tmp", stage.marker):
            folder.mkdir()
            folder.chmod(0o1777)
        for uid, project in ((VICTIM, stage.project), (ATTACKER, stage.theirs)):
            stage.home(uid).mkdir(mode=0o700)
            project.mkdir()
            (project / "app.py").write_text(PROGRAM.format(payload=stage.payload if uid == ATTACKER else ""))
            (stage.home(uid) / "secret").write_bytes(SECRET if uid == VICTIM else b"")
            stage.give(stage.home(uid), project, uid=uid)
            words = ("python", "app.py", "-m", "hydra/launcher=hpcorch_local", "+seed=1,2,3")
            said = stage.run(uid, words, project)
            if "2 COMPLETED, 1 FAILED" not in said.err:
                raise RuntimeError(f"a launch as user {uid} failed (can others read {sys.prefix}?): {said.err}")
        subprocess.run(["cp", "-a", str(stage.scratch), str(stage.pristine)], check=True)
        yield stage


def _sweep_of(project: Path) -> Path:
    return next(path.parent for path in sorted((project / "multirun").glob("*/*/.hpcorch")))
