"""What a ledger answers: sweeps, runs, attempts, configurations, questions in SQL."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.errors import NotFoundError, RecordError, UnavailableError, UsageError
from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.reader import read_sweep
from hpcorch.journal.sweep_folder import take
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import RunState
from tests.support.events import (
    SWEEP,
    attempt,
    created,
    launch,
    make_ledger,
    plan_of,
    segment,
    small_sweep,
    submitted,
    tables,
    write_plan,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_ledger(tmp_path)


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path) as opened:
        yield opened


@pytest.fixture
def layout(tmp_path: Path) -> SweepLayout:
    """A sweep directory with a control journal, a manifest of two runs and the journal of one attempt."""
    made = SweepLayout(tmp_path / "sweep")
    take(made)
    with JournalWriter.resume(made.control, nothing_to_confirm) as control:
        for fact in (created(directory=str(made.directory)), write_plan(made, 2), *submitted(0, "0-1")):
            control.append(fact)
    with JournalWriter.create(made.journal(AttemptId(run=0, submission=0, restart=0))) as journal:
        for fact in attempt(0.75):
            journal.append(fact)
    return made


def test_ledger_is_private(path: Path, tmp_path: Path) -> None:
    deep = tmp_path / "project" / ".hpcorch" / "ledger.db"
    Ledger.open(deep, write=True, create=True)
    assert stat.S_IMODE(deep.stat().st_mode) == 0o600
    assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o700


def test_absent_ledger_is_a_sentence(tmp_path: Path) -> None:
    for write in (False, True):
        with pytest.raises(NotFoundError, match="there is no ledger at"):
            Ledger.open(tmp_path / "ledger.db", write=write)
    assert not (tmp_path / "ledger.db").exists()


def test_place_that_cannot_hold_a_ledger_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"cannot be opened .*check that the folder is yours"):
        Ledger.open(tmp_path / "file" / "ledger.db", write=True, create=True)


def test_run_knows_its_plan_and_its_end(ledger: Ledger) -> None:
    run = ledger.run(SWEEP, 0)
    assert (run.state, run.result, run.params, run.seed) == (RunState.COMPLETED, 0.0, {"lr": 0.1}, 100)
    assert (run.overrides, run.job_id, run.attempts, run.node) == (("lr=0.1",), "4711_0", 1, "n1")
    failed = ledger.run(SWEEP, 1)
    assert (failed.state, failed.error, failed.exit_code) == (RunState.FAILED, "ValueError: no", 1)


def test_runs_are_selected_by_state_and_index(ledger: Ledger) -> None:
    def indices(**selection: object) -> list[int]:
        return [run.run for run in ledger.runs(SWEEP, **selection)]  # type: ignore[arg-type]

    assert indices() == [0, 1, 2]
    assert indices(states=[RunState.FAILED, RunState.SUBMITTED]) == [1, 2]
    assert indices(indices=[2, 0, 9]) == [0, 2]
    assert indices(indices=[0, 1], states=[RunState.FAILED]) == [1]
    assert indices(limit=2) == [0, 1]


def test_counts_and_state_of_a_sweep(ledger: Ledger) -> None:
    summary = ledger.sweep("last")
    assert summary.counts == {RunState.COMPLETED: 1, RunState.FAILED: 1, RunState.SUBMITTED: 1}
    assert (summary.state, summary.runs) == (RunState.SUBMITTED, 3)
    assert summary.looked_at is not None
    assert ledger.counts(SWEEP) == summary.counts


def test_configuration_is_the_base_with_the_changes_of_the_run(ledger: Ledger) -> None:
    assert ledger.config(SWEEP, 1) == {"lr": 0.2, "model": {"name": "mlp", "layers": [8, 1]}}
    with pytest.raises(NotFoundError, match="no run 9"):
        ledger.config(SWEEP, 9)


def test_sweeps_are_found_by_prefix_and_last_and_filters(path: Path) -> None:
    with Ledger.open(path, write=True) as ledger:
        small_sweep(ledger, sweep="20260102-120000-kkkk", name="Tuning", tags=["paper", "v2"])
        assert ledger.sweep("20260101").sweep.id == SWEEP
        assert ledger.sweep("last").sweep.id == "20260102-120000-kkkk"
        assert [item.sweep.name for item in ledger.sweeps(name="tun")] == ["Tuning"]
        assert [item.sweep.name for item in ledger.sweeps(tags=["paper"])] == ["Tuning"]
        assert len(ledger.sweeps(states=[RunState.SUBMITTED])) == 2
        assert ledger.sweeps(states=[RunState.FAILED]) == ledger.sweeps(since="2027") == []
        assert len(ledger.sweeps(limit=1)) == 1


def test_ambiguous_and_unknown_selectors_are_sentences(path: Path, tmp_path: Path) -> None:
    with Ledger.open(path, write=True) as ledger:
        small_sweep(ledger, sweep="20260101-130000-kkkk")
        with pytest.raises(NotFoundError, match="20260101-120000-bcdf, 20260101-130000-kkkk"):
            ledger.sweep("20260101")
        with pytest.raises(NotFoundError, match=r"no sweep .* begins with 'x'"):
            ledger.sweep("x")
        with pytest.raises(NotFoundError, match="has no sweep 20260101"):
            ledger.runs("20260101")
        with pytest.raises(NotFoundError, match="it has 3 runs"):
            ledger.run(SWEEP, 3)
    with (
        Ledger.open(tmp_path / "empty.db", write=True, create=True) as empty,
        pytest.raises(NotFoundError, match="no sweeps yet"),
    ):
        empty.sweep("last")


def test_submissions_batches_and_attempts(ledger: Ledger) -> None:
    (submission,) = ledger.submissions(SWEEP)
    assert (submission.runs, submission.job_id, submission.state.value) == ((0, 1, 2), "4711", "RELEASED")
    (launch,) = ledger.launches(SWEEP)
    assert (launch.count, launch.options) == (3, {"partition": "gpu"})
    assert [item.run for item in ledger.attempts(SWEEP)] == [0, 1]
    assert [item.result for item in ledger.attempts(SWEEP, 0)] == [0.0]


def test_events_are_kept_as_they_were(ledger: Ledger) -> None:
    kinds = [event.fact.kind for event in ledger.events(SWEEP, 0)]
    assert kinds[:2] == ["run-planned", "attempt-claimed"]
    (ended,) = ledger.events(SWEEP, 1, kinds=["attempt-ended"])
    assert ended.fact == attempt(None, outcome="failed", error="ValueError: no")[-1]
    assert len(ledger.events(SWEEP)) == ledger.head().events


def test_journals_and_manifest_on_disk_are_read_once(tmp_path: Path, layout: SweepLayout) -> None:
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:

        def refresh() -> int:
            found = read_sweep(layout, sweep=SWEEP, offsets=ledger.offsets(SWEEP))
            return ledger.ingest(SWEEP, found, manifests_in(layout)).events

        assert refresh() == 13
        assert refresh() == 0
        assert ledger.counts(SWEEP) == {RunState.COMPLETED: 1, RunState.SUBMITTED: 1}
        assert ledger.config(SWEEP, 1)["lr"] == 0.2
        with JournalWriter.resume(layout.control, nothing_to_confirm) as control:
            control.append(ev.JobObserved(submission=0, run=1, restart=0, state="PENDING", witness="squeue"))
        assert refresh() == 1
        assert ledger.run(SWEEP, 1).state is RunState.PENDING
        offsets = ledger.offsets(SWEEP)
        assert offsets["control"] == layout.control.stat().st_size
        layout.manifest(0).unlink()
        again = read_sweep(layout, sweep=SWEEP, offsets={})
        assert ledger.ingest(SWEEP, again, manifests_in(layout)).events == 0


def test_torn_tail_at_every_byte_is_waited_for(tmp_path: Path, layout: SweepLayout) -> None:
    journal = layout.journal(AttemptId(run=0, submission=0, restart=0))
    whole = journal.read_bytes()
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:
        for size in [*range(0, len(whole), 37), len(whole)]:
            journal.write_bytes(whole[:size])
            segments = list(read_sweep(layout, sweep=SWEEP, offsets=ledger.offsets(SWEEP)))
            ledger.ingest(SWEEP, segments, manifests_in(layout))
            ended = size == len(whole)
            assert (ledger.run(SWEEP, 0).state is RunState.COMPLETED) == ended
        assert len(ledger.events(SWEEP, 0)) == 6
        assert ledger.check() == []


def test_altered_manifest_is_refused_and_nothing_is_guessed(tmp_path: Path, layout: SweepLayout) -> None:
    manifest = layout.manifest(0)
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b"100", b"101", 1))
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:

        def refresh() -> None:
            found = read_sweep(layout, sweep=SWEEP, offsets=ledger.offsets(SWEEP))
            ledger.ingest(SWEEP, found, manifests_in(layout))

        with pytest.raises(RecordError, match="is not the one that was planned"):
            refresh()
        manifest.unlink()
        with pytest.raises(UnavailableError, match="cannot be read"):
            refresh()
        assert ledger.check() == []
        manifest.write_bytes(whole)
        refresh()
        assert ledger.counts(SWEEP) == {RunState.COMPLETED: 1, RunState.SUBMITTED: 1}


def test_journals_before_the_plan_show_once_the_plan_is_known(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:
        ledger.ingest(SWEEP, [segment("0.s0.r0", attempt(1.5))], plan_of)
        assert ledger.sweeps() == []
        ledger.ingest(SWEEP, [segment("control", [created(), launch(1)])], plan_of)
        assert ledger.run(SWEEP, 0).result == 1.5


def test_odd_text_is_kept_byte_for_byte(tmp_path: Path) -> None:
    odd = ["a\nb", "$(rm -rf)", "π,'\"", "bad\udcff", "nul\0"]
    error = "ValueError: " + odd[3]
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:
        control = [created(argv=odd, directory="/d/" + odd[3]), launch(1)]
        failed = attempt(odd, outcome="failed", error=error)
        ledger.ingest(SWEEP, [segment("control", control), segment("0.s0.r0", failed)], plan_of)
        assert list(ledger.sweep("last").sweep.argv) == odd
        assert ledger.sweep("last").sweep.directory == "/d/bad\udcff"
        assert ledger.run(SWEEP, 0).result == odd
        assert ledger.run(SWEEP, 0).error == r"ValueError: bad\udcff"
        assert ledger.check() == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT sweep, state, runs, completed, failed, waiting FROM v_sweeps", (SWEEP, "SUBMITTED", 3, 1, 1, 1)),
        ("SELECT run, state, error FROM v_failures", (1, "FAILED", "ValueError: no")),
        (
            "SELECT name, params, result, duration_s, node, seed FROM v_runs",
            ("train", '{"lr":0.1}', 0.0, 4.0, "n1", 100),
        ),
        ("SELECT avg(result) FROM v_params WHERE key = 'lr' AND value < 0.15", (0.0,)),
        ("SELECT run, restart, state, duration_s FROM v_attempts WHERE exit_code = 1", (1, 0, "FAILED", 4.0)),
        ("SELECT job_id, state, runs FROM v_submissions", ("4711", "RELEASED", "0-2")),
        ("SELECT source, kind FROM v_events WHERE seq = 1", ("control", "sweep-created")),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(i) FROM n", (6,)),
        ("SELECT name FROM pragma_table_info('runs') LIMIT 1", ("sweep",)),
    ],
)
def test_views_answer_the_usual_questions(ledger: Ledger, sql: str, expected: tuple[object, ...]) -> None:
    assert ledger.query(sql).rows[0] == expected


def test_a_ledger_that_is_alone_is_asked_without_a_lock(path: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    copy = Path(shutil.copy(path, tmp_path / "alone"))
    with Ledger.open(copy, alone=True) as ledger:
        assert len(ledger.query("SELECT run FROM v_runs").rows) == 3
    assert list(copy.parent.iterdir()) == [copy]


def test_query_names_its_columns(ledger: Ledger) -> None:
    assert ledger.query("SELECT run AS r, state FROM v_runs").columns == ("r", "state")


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM runs", "not authorized"),
        ("INSERT INTO tallies VALUES (1, 'x', 1)", "not authorized"),
        ("UPDATE sqlite_master SET name = 'x'", "may not be modified"),
        ("DROP TRIGGER events_refuse_update", "not authorized"),
        ("ATTACH DATABASE '{other}' AS other", "not authorized"),
        ("PRAGMA query_only = OFF", "not authorized"),
        ("SELECT load_extension('x')", "not authorized"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT absent FROM v_runs", "no such column"),
        ("", "asks nothing"),
    ],
)
def test_query_that_is_no_question_is_refused(ledger: Ledger, tmp_path: Path, sql: str, word: str) -> None:
    before = tables(ledger)
    with pytest.raises(UsageError, match=word):
        ledger.query(sql.format(other=tmp_path / "other.db"))
    assert tables(ledger) == before
    assert not (tmp_path / "other.db").exists()


def test_reading_loads_none_of_the_heavy_packages(path: Path) -> None:
    code = (
        "import sys, json; from hpcorch.ledger import Ledger\n"
        f"with Ledger.open({str(path)!r}) as ledger: ledger.sweeps()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"hydra", "omegaconf", "submitit", "rich", "pandas", "numpy", "sqlite_utils", "filelock"}
    assert heavy.isdisjoint(json.loads(found.stdout))
