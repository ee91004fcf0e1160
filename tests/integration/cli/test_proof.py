"""``hpcorch audit``, ``diff``, ``export`` and ``gc`` on sweeps with everything on record."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.sweep_folder import set_aside
from hpcorch.ledger.schema.connection import VERSION
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.model.values import digest
from tests.support.proven_sweeps import CODE, ENVIRONMENT, begun, freeze, proven_sweep
from tests.support.sweeps import SweepOnDisk, finished_sweep, make_sweep
from tests.support.tuning import Tune

OTHER = "20260102-120000-bcdf"


@pytest.fixture
def sweep(tmp_path) -> SweepOnDisk:
    return proven_sweep(tmp_path)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# audit ------------------------------------------------------------------------------------------------------


def test_audit_tells_what_ran_from_what_and_how_its_attempts_hang_together(hpcorch, sweep):
    ran = hpcorch("audit", "last/0", "--json")
    assert ran.code == 0, ran.out
    found = json.loads(ran.out)
    (run,) = found["sweeps"][0]["runs"]
    assert (run["params"]["lr"], run["seed"], run["config"]["lr"], run["result"]) == (0.1, 100, 0.1, 0.5)
    assert run["code"]["commit"] == "8a1c" * 10
    first, second = run["attempts"]
    assert (first["state"], first["checkpoints_saved"], first["restored"]) == ("PREEMPTED", 2, None)
    assert second["restored"]["attempt"] == "0.s0.r0"
    assert second["restored"]["generators"] == ["random"]


def test_audit_of_a_damaged_checkpoint_exits_with_1_and_names_it(hpcorch, sweep):
    (checkpoint,) = sweep.layout.checkpoints(0).glob("*.ckpt")
    damage(checkpoint)
    ran = hpcorch("audit")
    assert ran.code == 1
    assert f"ERROR {sweep.id}/0: {sweep.layout.relative(checkpoint)}" in ran.out


def test_a_report_says_it_all_on_a_page(hpcorch, sweep, tmp_path):
    assert hpcorch("audit", "--report", "appendix.md").code == 0
    report = (tmp_path / "appendix.md").read_text()
    assert "**Nothing was changed or is missing.**" in report
    assert f"commit `{'8a1c' * 10}`" in report
    assert "| 0 | lr=0.1 epochs=3 | 100 | COMPLETED | 0.5 | s0.r0 PREEMPTED, s0.r1 COMPLETED |" in report
    assert "random states restored: random" in report
    assert len(report.splitlines()) < 40


def test_an_older_sweep_without_snapshot_or_environment_is_audited_honestly(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("audit", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0
    assert {finding["severity"] for finding in found["findings"]} == {"note"}
    assert "no snapshot of the code is on record" in ran.out


def test_a_published_anchor_is_checked_from_a_file_or_as_text(hpcorch, sweep, tmp_path):
    anchor = hpcorch("audit", "--anchor").out.strip()
    (tmp_path / "anchors.txt").write_text(f"first day\n{anchor}\n")
    for given in (anchor, "anchors.txt"):
        ran = hpcorch("audit", "--against", given)
        assert ran.code == 0
        assert "1 anchor" in ran.out
    wrong = anchor.split()[2]
    ran = hpcorch("audit", "--against", anchor.replace(wrong, f"sha256:{'0' * 64}"))
    assert ran.code == 1
    assert "the chain does not go through the anchor" in ran.out
    assert hpcorch("audit", "--against", "no such file").code == 2


def test_drift_other_hardware_and_fresh_random_states_are_findings(hpcorch, tmp_path):
    made = make_sweep(tmp_path, [["lr=0.1"]])
    snapshot = freeze(made, CODE, ENVIRONMENT)
    made.submit([0])
    found = ev.EnvironmentFound(host="n2", fingerprint="0", changes={"platform": {"cpu": "another"}})
    drift = ev.DriftFound(
        aspect="environment", severity="major", what="packages numpy", before="1", after="2", policy="warn"
    )
    saved = ev.CheckpointSaved(step=1, file="gone.ckpt", size=1, digest="sha256:1", seconds=0.0)
    restored = ev.CheckpointRestored(step=1, file="gone.ckpt", digest="sha256:2", attempt="0.s0.r0", generators=[])
    with begun(made, 0, 0, snapshot) as journal:
        journal.append(saved)
    made.record(ev.JobObserved(submission=0, run=0, restart=0, state="PREEMPTED", witness="sacct"))
    with begun(made, 0, 1, snapshot) as journal:
        for fact in (found, drift, restored, ev.AttemptEnded(outcome="completed", exit_code=0)):
            journal.append(fact)
    made.ingest()
    text = hpcorch("audit").out
    assert "packages numpy was 1 and was found 2 (policy warn)" in text
    assert "platform cpu was as at submission and is another" in text
    assert "went on without the random state of random" in text
    assert "went on from gone.ckpt, which differs from what was saved under that name" in text
    assert "the checkpoint of step 1 is missing, and no attempt recorded removing it" in text


def test_packages_that_many_attempts_found_changed_are_one_finding(hpcorch, tmp_path):
    made = make_sweep(tmp_path)
    snapshot = freeze(made, CODE, ENVIRONMENT)
    made.submit([0, 1])
    for run, restart in ((0, 0), (0, 1), (1, 0)):
        with begun(made, run, restart, snapshot) as journal:
            for name in ("numpy", "torch"):
                what, policy = f"packages {name}", "record"
                journal.append(
                    ev.DriftFound(
                        aspect="environment", severity="major", what=what, before="1", after="2", policy=policy
                    )
                )
    made.ingest()
    found = json.loads(hpcorch("audit", "--json").out)["findings"]
    (text,) = [one["text"] for one in found if "drift" in one["text"]]
    told = "2 packages differ: numpy 1 -> 2, torch 1 -> 2 (policy record)"
    assert text == f"3 attempts of runs 0-1: drift of the environment: {told}"


def test_audit_of_a_sweep_whose_directory_is_gone_says_so(hpcorch, sweep):
    shutil.rmtree(sweep.layout.directory)
    ran = hpcorch("audit", "--all")
    assert ran.code == 1
    assert "only the ledger has what is known of it" in ran.out


def test_a_record_that_was_set_aside_is_audited_where_it_is_now(hpcorch, sweep, tmp_path):
    set_aside(sweep.layout, nothing_to_confirm)
    ran = hpcorch("audit", "--json")
    assert ran.code == 0, ran.out
    assert json.loads(ran.out)["intact"]["task files"] == 1
    assert hpcorch("export", "bundle", "last", "bundle").code == 0
    assert hpcorch("audit", "--bundle", "bundle").code == 0


def test_a_batch_script_that_was_changed_is_named_and_one_without_a_digest_is_a_note(hpcorch, sweep):
    script = sweep.layout.script(1, "1" * 32)
    script.write_text("#!/bin/sh\n")
    intent = ev.SubmissionIntended(
        submission=1,
        launch=0,
        runs="0",
        token="1" * 32,
        backend="slurm",
        host="login1",
        script=sweep.layout.relative(script),
        script_digest=digest(script.read_bytes()),
    )
    sweep.record(intent, ev.SubmissionUnknown(submission=1, reason="no answer"))
    sweep.record(replace(intent, submission=2, script_digest=None))
    sweep.ingest()
    script.write_text("#!/bin/bash\n")
    text = hpcorch("audit").out
    assert f"ERROR {sweep.id}: {sweep.layout.relative(script)}" in text
    assert "1 batch script(s) have no digest on record" in text


def test_a_requeued_attempt_that_found_its_run_over_is_only_a_note(hpcorch, sweep):
    name = AttemptId(run=1, submission=0, restart=1)
    with JournalWriter.create(sweep.layout.journal(name)) as journal:
        journal.append(ev.AttemptClaimed(host="n1", pid=1))
        journal.append(ev.AttemptEnded(outcome="skipped", exit_code=0))
    ran = hpcorch("audit")
    assert ran.code == 0
    assert "NOTE" in ran.out
    with JournalWriter.resume(sweep.layout.journal(name), nothing_to_confirm) as journal:
        journal.append(ev.AttemptEnded(outcome="completed", exit_code=0, result=9))
    assert "it was added after the run was over" in hpcorch("audit").out


# diff -------------------------------------------------------------------------------------------------------


def test_diff_shows_configuration_code_environment_and_results_side_by_side(hpcorch, sweep, tmp_path):
    code = {**CODE, "helpers.py": "WORD = 2\n", "new.py": "pass\n", "empty.py": ""}
    proven_sweep(
        tmp_path, sweep=OTHER, code=code, environment={**ENVIRONMENT, "packages": {"numpy": "2.2.0"}}, scale=2.0
    )
    ran = hpcorch("diff", f"{sweep.id}/0", f"{OTHER}/0")
    assert ran.code == 1
    assert "diff --git a/helpers.py b/helpers.py\n--- a/helpers.py\n+++ b/helpers.py\n" in ran.out
    assert "-WORD = 1\n+WORD = 2\n" in ran.out
    assert "diff --git a/empty.py b/empty.py\nnew file mode 100644\n" in ran.out
    assert "new file mode 100644\n--- /dev/null\n+++ b/new.py" in ran.out
    words = [line.split() for line in ran.out.splitlines()]
    assert ["packages", "numpy", "2.1.0", "2.2.0"] in words
    assert ["result", "0.5", "1.0"] in words
    found = json.loads(hpcorch("diff", f"{sweep.id}/0", f"{sweep.id}/1", "--json").out)
    assert found["configuration"] == [{"what": "index", "before": 0, "after": 1}]
    assert found["seed"] == [{"what": "seed", "before": 100, "after": 101}]
    assert found["code"] == []


def test_diff_of_equal_runs_exits_with_0(hpcorch, sweep):
    ran = hpcorch("diff", "last/0", "last/0")
    assert (ran.code, ran.err) == (0, "")
    assert "do not differ" in ran.out
    assert hpcorch("diff", "last", "last/0").code == 2


def test_diff_of_runs_without_a_snapshot_says_what_it_cannot_compare(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("diff", "last/0", "last/1")
    assert ran.code == 1
    assert "no snapshot of the code" in ran.err
    assert "environment" in ran.err


# export -----------------------------------------------------------------------------------------------------


def test_tables_are_written_as_csv_and_json_and_never_over_a_file(hpcorch, sweep, tmp_path):
    assert hpcorch("export", "csv", "runs", "attempts", "--into", "tables").code == 0
    rows = list(csv.DictReader((tmp_path / "tables" / "runs.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["COMPLETED", "COMPLETED"]
    assert hpcorch("export", "json", "runs", "--sweep", "last").code == 0
    assert [row["run"] for row in json.loads((tmp_path / "runs.json").read_text())] == [0, 1]
    again = hpcorch("export", "json", "runs")
    assert again.code == 2
    assert "the file runs.json exists already" in again.err
    assert hpcorch("export", "csv", "nonsense").code == 2


def test_a_bundle_audits_clean_elsewhere_without_the_original(hpcorch, sweep, tmp_path, tmp_path_factory):
    assert hpcorch("export", "bundle", "last", "bundle").code == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "received"
    shutil.move(tmp_path / "bundle", elsewhere)
    for entry in tmp_path.iterdir():
        shutil.rmtree(entry)
    ran = hpcorch("audit", "--bundle", elsewhere, "--json")
    found = json.loads(ran.out)
    assert ran.code == 0, ran.out
    assert found["findings"] == []
    assert (found["intact"]["checkpoints"], found["intact"]["result files"]) == (1, 1)
    assert [run["result"] for run in found["sweeps"][0]["runs"]] == [0.5, "an array"]
    assert yaml.safe_load((elsewhere / "configuration" / "1.yaml").read_text()) == {"lr": 0.1, "index": 1}
    assert "Nothing was changed" in (elsewhere / "report.md").read_text()
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=elsewhere, check=True)


def test_a_bundle_of_one_run_has_only_its_own_files_and_no_secrets(hpcorch, sweep, tmp_path):
    sweep.layout.environment.write_text('{"TOKEN": "hidden"}')
    assert hpcorch("export", "bundle", "last/1", "bundle", "--checkpoints", "none").code == 0
    names = {str(path.relative_to(tmp_path / "bundle")) for path in (tmp_path / "bundle").rglob("*")}
    assert "sweep/.hpcorch/journal/1.s0.r0.jsonl" in names
    assert "sweep/.hpcorch/variables.json" not in names
    assert not [name for name in names if "journal/0." in name or name.endswith(".ckpt")]
    assert hpcorch("audit", "--bundle", "bundle").code == 0
    assert hpcorch("export", "bundle", "last", "bundle").code == 2


def test_any_file_of_a_bundle_that_was_changed_is_named(hpcorch, sweep, tmp_path):
    assert hpcorch("export", "bundle", "last", "bundle", "--checkpoints", "all").code == 0
    for path in sorted((tmp_path / "bundle").rglob("*")):
        if not path.is_file() or path.stat().st_size < 4 or path.name in ("bundle.json", "ledger.db"):
            continue
        before = path.read_bytes()
        damage(path)
        ran = hpcorch("audit", "--bundle", "bundle")
        path.write_bytes(before)
        assert ran.code == 1, path
        assert path.name == "SHA256SUMS" or str(path.relative_to(tmp_path / "bundle")) in ran.out
    (tmp_path / "bundle" / "added.txt").write_text("more")
    assert "added.txt: it is not listed" in hpcorch("audit", "--bundle", "bundle").out


def make_older(path: Path) -> bytes:
    """Let a ledger be one of an earlier version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA user_version={VERSION - 1}; DROP TABLE made_anew;"
            f" DELETE FROM _sqlite_migrations WHERE name LIKE '%{VERSION}_%'"
        )
    return path.read_bytes()


def test_the_ledger_of_a_bundle_that_an_older_version_made_is_read_and_left_as_it_is(hpcorch, sweep, tmp_path):
    assert hpcorch("export", "bundle", "last", "bundle").code == 0
    ledger = tmp_path / "bundle" / ".hpcorch" / "ledger.db"
    before = make_older(ledger)
    ran = hpcorch("audit", "--bundle", "bundle", "--json")
    assert [run["seed"] for run in json.loads(ran.out)["sweeps"][0]["runs"]] == [100, 101]
    assert ledger.read_bytes() == before
    assert [path.name for path in ledger.parent.glob("ledger*")] == [ledger.name]


# gc ---------------------------------------------------------------------------------------------------------


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def test_gc_removes_only_old_snapshots_that_no_sweep_refers_to(hpcorch, sweep, tmp_path):
    folder = tmp_path / ".hpcorch" / "snapshots"
    (referred,) = folder.iterdir()
    old, young, foreign = folder / ("a" * 64), folder / ("b" * 64), folder / "notes.txt"
    for path in (old, young, foreign):
        path.write_bytes(b"x" * 2000)
    for path in (referred, old, foreign):
        age(path, 2)
    ran = hpcorch("gc", "--dry-run")
    assert "would remove 1 snapshot (0.002 MB)" in ran.out
    assert old.exists()
    assert hpcorch("gc").code == 2  # nobody is there to be asked
    found = json.loads(hpcorch("gc", "--yes", "--json").out)
    assert list(found["unused"]) == ["a" * 64]
    assert sorted(folder.iterdir()) == sorted([referred, young, foreign])
    assert "nothing to remove" in hpcorch("gc", "--yes").out


def test_gc_asks_every_ledger_and_every_sweep_directory_of_the_project(hpcorch, sweep, tmp_path, tune: Tune):
    tune(ADOPTION_FOLDERS=1)  # whatever there is besides
    (tmp_path / ".hpcorch" / ".ledger.db.0a1b2c3d.renewed").write_bytes(b"SQLite format 3\0")  # by who died then
    (snapshot,) = (tmp_path / ".hpcorch" / "snapshots").iterdir()
    age(snapshot, 2)
    sweep.ledger_path.rename(tmp_path / ".hpcorch" / "old.db")
    finished_sweep(tmp_path, sweep=OTHER)
    assert "nothing to remove" in hpcorch("gc", "--yes").out
    (tmp_path / ".hpcorch" / "old.db").unlink()
    assert "nothing to remove" in hpcorch("gc", "--yes").out
    record = sweep.layout.control.rename(tmp_path / "control.jsonl")
    os.mkfifo(sweep.layout.control)
    assert "nobody knows which snapshots its sweep needs" in hpcorch("gc", "--yes").err
    sweep.layout.control.unlink()
    record.rename(sweep.layout.control)
    shutil.rmtree(sweep.layout.directory)
    assert hpcorch("gc", "--yes").code == 0
    assert not snapshot.exists()


def test_gc_leaves_backups_of_older_versions_as_they_are(hpcorch, sweep, tmp_path):
    backup = tmp_path / ".hpcorch" / "ledger.db.backup"
    assert hpcorch("ledger", "backup", backup).code == 0
    before = make_older(backup)
    sweep.ledger_path.unlink()
    finished_sweep(tmp_path, sweep=OTHER)
    shutil.rmtree(sweep.layout.directory)  # only the backup has it
    (snapshot,) = (tmp_path / ".hpcorch" / "snapshots").iterdir()
    age(snapshot, 2)
    assert "nothing to remove" in hpcorch("gc", "--yes").out
    assert backup.read_bytes() == before
    assert [path.name for path in backup.parent.glob("ledger.db.backup*")] == [backup.name]
