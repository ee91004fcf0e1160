"""What the findings of the trial jobs mean: one function per check, from their results to rows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from hpcorch.services.doctor.cluster import clock
from hpcorch.services.doctor.folder import open_files_row
from hpcorch.services.doctor.locks import KINDS, TAKEOVER
from hpcorch.services.doctor.rows import Row, limited, not_ok, ok, unknown
from hpcorch.services.doctor.trial import NodeFacts
from hpcorch.services.doctor.trial_waiting import Trial, Trials

# Room to unpack a snapshot of the code and for what libraries leave there.
_LEAST_TEMPORARY = 500 << 20
_LOG_CHARACTERS = 300
_NOT_FOUND = ("No such file", "not found", "Permission denied", "cannot execute", "No module named")

# Kind of lock -> what it is called, and what follows where it does not hold.
_LOCKS = {
    "lease": ("hpcorch's own locks", "two commands on different hosts may both write a sweep's record"),
    "takeover": ("taking over hpcorch's lock of a dead host", "a host that dies may lock the project for all"),
    "creation": ("exclusive creation of files", "hpcorch's locks between hosts are made of it"),
    "link": ("hard links as locks", ""),
    "fcntl": ("fcntl locks", ""),
    "flock": ("flock", ""),
}
_ANOTHER_FOLDER = "have sweeps and ledger on another file system (hydra.sweep.dir, $HPCORCH_LEDGER)"
_LOCK_CURES = {
    "lease": f"{_ANOTHER_FOLDER}, or tell the administrators of it",
    "takeover": f"{_ANOTHER_FOLDER}; or remove the lock that a message names, if its holder is dead",
    "creation": f"{_ANOTHER_FOLDER}, or tell the administrators of it",
    "link": "no action is needed for hpcorch, which does without; other programs may need them",
    "fcntl": "no action is needed for hpcorch, which does without; other programs may need a lock service",
    "flock": "no action is needed for hpcorch, which does without; other programs may need a mount with `flock`",
}


def not_submitted() -> Row:
    """The row if no trial jobs were requested."""
    return unknown(
        "compute nodes",
        "no job was submitted, so interpreter, folders, clocks and locks of compute nodes were not checked",
        "`hpcorch doctor --jobs` checks them with two one-CPU jobs of a minute",
    )


def rows_of(trials: Trials) -> list[Row]:
    """The rows about compute nodes."""
    rows = list(_troubles(trials))
    looked = [(trial, trial.facts) for trial in trials.trials if trial.facts is not None]
    if looked:
        checks = (_interpreter, _folder, _shared, _commands, _open_files, _temporary, _clocks)
        rows += [check(trials, looked) for check in checks]
        rows += _locks(trials)
    return rows


def _troubles(trials: Trials) -> Iterator[Row]:
    """What kept jobs from looking."""
    if trials.refused is not None:
        cure = "name a pool in which you may run with --pool, or correct the profile's pools"
        yield not_ok("trial jobs", f"Slurm refused a trial job: {trials.refused.rstrip('.')}", cure)
    for trial in trials.trials:
        if trial.facts is None:
            yield _trouble(trial)


def _trouble(trial: Trial) -> Row:
    if trial.started is not None:
        return _without_python(trial)
    state = trial.row.state.value if trial.row else "unknown to Slurm"
    if trial.over_since is not None:
        return not_ok(
            "folder on nodes",
            f"job {trial.job_id} ended ({state}) and wrote nothing in the ledger's folder: its node does not see"
            " that folder",
            f"{_ANOTHER_FOLDER}: one that all nodes mount under the same path",
        )
    reason = f", {trial.row.reason}" if trial.row and trial.row.reason else ""
    cure = "try again when the cluster is less busy, with a longer --timeout, or in another pool with --pool"
    return unknown(
        "trial jobs", f"job {trial.job_id} did not run in time ({state}{reason}), and was cancelled", cure
    )


def _without_python(trial: Trial) -> Row:
    said = " ".join(trial.log.split())[-_LOG_CHARACTERS:]
    if trial.over_since is None:
        cure = "try again with a longer --timeout; if it persists, the file system of the environment is slow"
        return unknown("interpreter", f"Python did not start in time on node {trial.started} {said}".rstrip(), cure)
    if any(words in said for words in _NOT_FOUND):
        return not_ok(
            "interpreter",
            f"node {trial.started} cannot start {_python()}: {said}",
            "have the virtual environment where all nodes see it and you may read it, or name what starts Python"
            " there with hydra.launcher.python and .setup (modules, containers)",
        )
    cure = "fix what it reports, and try again"
    return not_ok("interpreter", f"Python failed on node {trial.started}: {said or 'it printed nothing'}", cure)


_Looked = Sequence[tuple[Trial, NodeFacts]]


def _interpreter(_: Trials, looked: _Looked) -> Row:
    return ok("interpreter", f"{_python()} starts on {_nodes(facts for _, facts in looked)}")


def _folder(trials: Trials, looked: _Looked) -> Row:
    blind = [facts for _, facts in looked if facts.hello != trials.hello]
    if blind:
        does = "do" if len(blind) > 1 else "does"
        told = f"{_nodes(blind)} {does} not see what this host wrote in the ledger's folder"
        return not_ok("folder on nodes", told, _ANOTHER_FOLDER)
    return ok("folder on nodes", f"{_nodes(facts for _, facts in looked)} and this host see each other's files")


def _shared(_: Trials, looked: _Looked) -> Row:
    name = "shared folders"
    wrong = [
        f"{facts.node} cannot write in {folder} ({why})"
        for _, facts in looked
        for folder, why in facts.folders.items()
    ]
    if wrong:
        cure = "name folders that nodes see: $HPCORCH_STATE for counts of throttles, `directory` for leases"
        return not_ok(name, "; ".join(wrong), cure)
    return ok(name, "nodes can write where throttles are counted and leases are kept")


def _commands(_: Trials, looked: _Looked) -> Row:
    name = "Slurm on nodes"
    lacking = [facts for _, facts in looked if facts.missing_commands]
    silent = [facts for _, facts in looked if facts.controller is not None]
    later = "what a task or keeper would do (next arrays, retries, throttles) waits for your next command here"
    cure = "leave a launch waiting (no detach), or run `hpcorch tend` now and then"
    if lacking:
        told = f"{_nodes(lacking)} {_have(lacking)} no {', '.join(lacking[0].missing_commands)}: {later}"
        return limited(name, told, cure)
    if silent:
        return limited(name, f"Slurm does not answer from {_nodes(silent)} ({silent[0].controller}): {later}", cure)
    return ok(
        name, f"{_nodes(facts for _, facts in looked)} {_have(looked)} Slurm's commands, and Slurm answers there"
    )


def _open_files(_: Trials, looked: _Looked) -> Row:
    limits = [facts.open_files for _, facts in looked if facts.open_files is not None]
    return open_files_row("open files on nodes", "on a node", min(limits, default=None))


def _temporary(_: Trials, looked: _Looked) -> Row:
    name, cure = "temporary files", "set $TMPDIR in hydra.launcher.setup to a folder of the node's with room"
    for facts in [facts for _, facts in looked]:
        if facts.temporary is not None:
            told = f"{facts.node} cannot write in {facts.temporary_folder} ({facts.temporary})"
            return not_ok(name, f"{told}, where code is unpacked", cure)
        if facts.temporary_free < _LEAST_TEMPORARY:
            told = f"{facts.temporary_folder} of {facts.node} has room for {facts.temporary_free >> 20} MiB only"
            return not_ok(name, f"{told}, and code is unpacked there", cure)
    return ok(name, f"{looked[0][1].temporary_folder} of the nodes takes the code that is unpacked")


def _clocks(_: Trials, looked: _Looked) -> Row:
    known = [(facts.node, one.ahead_s, one.within_s) for one, facts in looked if one.ahead_s is not None]
    if not known:
        return unknown("node clocks", "no node reported its time before the trial was over")
    node, ahead_s, within_s = max(known, key=lambda one: abs(one[1]) - one[2])
    return clock("node clocks", node, ahead_s, within_s=within_s)


def _locks(trials: Trials) -> Iterator[Row]:
    """One row for all kinds that hold, one for each that does not."""
    name = "locks"
    fighters = [trial for trial in trials.trials if trial.locks is not None]
    if len(fighters) < len(trials.trials) or len(fighters) < 2 or _same_node(fighters):
        cure = "try again when two nodes are free, or in a pool with --pool that has two"
        yield unknown(
            name,
            "no two nodes ran trial jobs at the same time, so it is not known whether locks work between nodes",
            cure,
        )
        return
    held = []
    for kind in (*KINDS, TAKEOVER):
        row = _lock(kind, fighters, trials.numbers.get(kind, 0))
        if row is None:
            held.append(_LOCKS[kind][0])
        else:
            yield row
    if held:
        where = "two nodes of one machine" if _same_machine(fighters) else "two nodes"
        yield ok(name, f"between {where} hold: {', '.join(held)}")


def _lock(kind: str, fighters: Sequence[Trial], number: int) -> Row | None:
    """A row where a kind of lock does not hold, or was not tried; None where it holds."""
    called, use = _LOCKS[kind]
    fought = [trial.locks[kind] for trial in fighters if trial.locks is not None and kind in trial.locks]
    error = next((one.error for one in fought if one.error is not None), None)
    turns = sum(one.turns for one in fought)
    wrong = None
    if error is not None:
        wrong = f"{called} cannot be taken between nodes ({error.lower()})"
    elif turns > number:
        wrong = f"{called} do not work between nodes ({turns - number} of {turns} turns overlapped)"
    if wrong is None:
        met = len(fought) == len(fighters) and any(one.waits for one in fought)
        return None if met else unknown("locks", f"{called}: the nodes did not meet", "try again")
    if not use:
        return limited("locks", wrong, _LOCK_CURES[kind])
    return not_ok("locks", f"{wrong}; {use}", _LOCK_CURES[kind])


def _same_node(fighters: Iterable[Trial]) -> bool:
    return len({trial.facts.node for trial in fighters if trial.facts is not None}) == 1


def _same_machine(fighters: Iterable[Trial]) -> bool:
    machines = {trial.facts.machine for trial in fighters if trial.facts is not None}
    return len(machines) == 1 and machines != {""}


def _nodes(facts: Iterable[NodeFacts]) -> str:
    return " and ".join(dict.fromkeys(one.node for one in facts))


def _have(several: Sequence[object]) -> str:
    return "have" if len(several) > 1 else "has"


def _python() -> str:
    return sys.executable
