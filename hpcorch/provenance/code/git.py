"""What git knows of the code: commit, branch, remote, and how the files differ from the commit.

No git, no checkout, no commit yet or a refusal of git's are answers, not errors: a result can be proven by its
snapshot alone. Nothing here takes git's locks, runs a program that the user's configuration names, or asks for a
password.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from hpcorch import tunables
from hpcorch.journal.layout import STATE_DIR
from hpcorch.journal.snapshots import to_text
from hpcorch.process import CommandMissingError, CommandTimeoutError, FinishedRaw, run_raw
from hpcorch.provenance.code.search import FolderRules, is_data, is_job_output
from hpcorch.provenance.secrets import PRIVATE_KEY_IN_DIFF, SECRET_NAMES
from hpcorch.quick_dataclasses import dataclass

# A hook of git's sets these for itself; the checkout is to be found from the folder.
_OF_HOOKS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})
_USER_IN_URL = re.compile(r"^(\w[\w+.-]*://)[^/@]*@")
_CLOSED_FOLDER = re.compile(rb"^warning: could not open directory '(.*)/': ", re.MULTILINE)
_DUBIOUS = re.compile(rb"dubious ownership in repository at '(.*)'")  # git-config(1), safe.directory
_QUERY_IN_URL = re.compile(r"[?#].*$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The state of a git checkout.

    :param root: absolute path of its top folder; None if there is no checkout, or git cannot tell
    :param commit: hexadecimal; None before the first commit
    :param branch: None where HEAD is detached
    :param remote: URL without credentials
    :param dirty: whether tracked files differ from the commit
    :param diff_digest: SHA-256 in hexadecimal of :func:`diff`; None where nothing differs
    :param problem: why git cannot tell of a checkout that is there
    """

    root: str | None = None
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool = False
    diff_digest: str | None = None
    problem: str | None = None


class GitError(Exception):
    """Git is not installed, did not answer, or refused; the text is a sentence without its full stop."""


class NoGitError(GitError):
    """Git is not installed."""


def look(folder: Path) -> tuple[Checkout, bytes]:
    """The checkout that ``folder`` lies in, and its diff. Never raises for what git does or lacks."""
    checkout = Checkout()
    try:
        root = top(folder)
        if root is None:
            return Checkout(), b""
        checkout = _status(root)
        changes = diff(root) if checkout.dirty and checkout.commit else b""
    except GitError as error:
        return replace(checkout, problem=str(error)), b""
    return replace(checkout, diff_digest=hashlib.sha256(changes).hexdigest() if changes else None), changes


def top(folder: Path) -> Path | None:
    """The top folder of the checkout that ``folder`` lies in; None if it lies in none.

    :raises GitError: git cannot tell
    """
    if not any(os.path.exists(parent / ".git") for parent in (folder, *folder.parents)):  # noqa: PTH110
        return None
    done = _git(folder, "rev-parse", "--show-toplevel")
    return Path(to_text(_checked(done).removesuffix(b"\n")))


def diff(root: Path) -> bytes:
    """The changes of tracked files against the last commit, staged or not, as ``git apply`` takes them.

    Files that look like secrets are left out. What is longer than 5 MB is cut, and its last line says so.

    :raises GitError: git cannot tell
    """
    secrets = [f":(top,exclude,icase,glob)**/{pattern}" for pattern in SECRET_NAMES]
    options = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/")
    changes = _checked(_git(root, "diff", *options, "--dst-prefix=b/", "HEAD", "--", ":(top)", *secrets))
    if PRIVATE_KEY_IN_DIFF.search(changes):
        return b"# The changes are left out: they hold what looks like a private key.\n"
    if len(changes) > tunables.DIFF_BYTES:
        return changes[: tunables.DIFF_BYTES] + f"\n# Cut here: the changes have {len(changes)} bytes.\n".encode()
    return changes


def tracked_files(folder: Path) -> list[bytes]:
    """The files below a folder that git has in its index, relative to it; submodules as folders.

    :raises GitError: git cannot tell
    """
    return _names(_git(folder, "ls-files", "-z", "--cached"))


def untracked_files(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """The files below a folder that git neither has nor ignores; checkouts in it as folders, with ``/`` at the end.

    :return: these, and the folders that git could not open
    :raises GitError: git cannot tell
    """
    done = _git(folder, "ls-files", "-z", "--others", "--exclude-standard")
    return _names(done), _CLOSED_FOLDER.findall(done.stderr)


def ignored_paths(folder: Path) -> list[bytes]:
    """What git ignores below a folder: files, and folders of which it has nothing, with ``/`` at the end.

    :raises GitError: git cannot tell
    """
    return _names(_git(folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"))


def changed_paths(folder: Path) -> tuple[list[str], list[str]]:
    """Paths in the checkout around a folder, relative to its top: those that git has and that differ from the last
    commit, and those that it neither has nor ignores, folders with ``/`` at the end.

    :raises GitError: git cannot tell
    """
    output = _checked(_git(folder, "status", "--porcelain", "-z", "--untracked-files=normal"))
    tracked: list[str] = []
    untracked: list[str] = []
    entries = iter(to_text(output).split("\0"))
    for entry in entries:
        if entry:
            (untracked if entry.startswith("??") else tracked).append(entry[3:])
            if entry[0] in "RC":
                next(entries, None)  # where it was renamed or copied from
    return tracked, untracked


def without_credentials(url: str) -> str:
    """A remote's URL without user, password, token and query; ``git@host:path`` names no secret and stays."""
    return _USER_IN_URL.sub(r"\1", _QUERY_IN_URL.sub("", url) if "://" in url else url)


def _status(root: Path) -> Checkout:
    output = _checked(_git(root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no"))
    fields = to_text(output).split("\0")
    about = dict(field[2:].split(" ", 1) for field in fields if field.startswith("# "))
    commit, branch = about.get("branch.oid", "(initial)"), about.get("branch.head", "(detached)")
    return Checkout(
        root=str(root),
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        remote=_remote(root),
        dirty=any(field and not field.startswith("# ") for field in fields),
    )


def _remote(root: Path) -> str | None:
    done = _git(root, "config", "-z", "--get-regexp", r"^remote\..*\.url$")
    found = [entry.split("\n", 1) for entry in to_text(done.stdout).split("\0") if "\n" in entry]
    urls = {entry[0]: entry[1] for entry in reversed(found)}
    url = urls.get("remote.origin.url") or next((url for _, url in found), None)
    return None if url is None else without_credentials(url)


def _names(done: FinishedRaw) -> list[bytes]:
    return [name for name in _checked(done).split(b"\0") if name]


def _git(folder: Path, *words: str) -> FinishedRaw:
    kept = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    env = {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return run_raw(
            ["git", "-c", "core.fsmonitor=false", *words], timeout_s=tunables.GIT_TIMEOUT_S, env=env, cwd=folder
        )
    except CommandMissingError:
        raise NoGitError("git is not installed here") from None
    except CommandTimeoutError as error:
        raise GitError(str(error)) from error


def _checked(done: FinishedRaw) -> bytes:
    if done.returncode == 0:
        return done.stdout
    if (dubious := _DUBIOUS.search(done.stderr)) is not None:
        folder = to_text(dubious[1])
        raise GitError(
            f"git refuses {folder}, which belongs to another user: trust it with"
            f" `git config --global --add safe.directory {shlex.quote(folder)}`"
        )
    said = done.stderr.decode(errors="backslashreplace").strip().splitlines()
    raise GitError(f"git {done.argv[3]} failed: {said[0] if said else f'exit code {done.returncode}'}")


# What is found in folders of sweeps, at the depths at which Hydra makes them.
_OUTPUTS = (
    f"{STATE_DIR}/control.jsonl",
    f"*/{STATE_DIR}/control.jsonl",
    f"*/*/{STATE_DIR}/control.jsonl",
    "*/*/.hydra",
)


def uncommitted_changes(folder: Path) -> list[str]:
    """Paths in the checkout around ``folder`` that differ from its last commit, or that git does not know.

    What is no code does not count: data that git does not know, and what sweeps, jobs and hpcorch itself write.
    Nothing differs where there is no git, or no checkout: such code has no commit.

    :raises GitError: git cannot tell
    """
    try:
        root = top(folder)
        if root is None:
            return []
        tracked, untracked = changed_paths(root)
    except NoGitError:
        return []
    return [*tracked, *(path for path in untracked if not _is_output(root / path))]


def _is_output(path: Path) -> bool:
    if not os.path.isdir(path):  # noqa: PTH112 - nothing is raised where the folder may not be entered
        return is_job_output(path.name) or is_data(path.name)
    own = path.name == STATE_DIR or any(next(path.glob(pattern), None) is not None for pattern in _OUTPUTS)
    return own or FolderRules(path.parent).excluded(f"{path.name}/x") is not None
