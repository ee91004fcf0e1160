"""``hydra/sweeper=hpcorch`` as a user has it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.programs


def test_the_runs_of_a_file_are_those_of_the_sweep(locally):
    (locally.folder / "runs.csv").write_text('x,value\n1,"a, \x1b[31mb"\n2,\n3,3\n')
    keys = ("hydra.sweeper.runs=runs.csv", 'hydra.sweeper.exclude=["x>2"]', "hydra.sweeper.max_batch_size=3")
    done = locally.launch("hydra/sweeper=hpcorch", *keys, "read=A,B", env={"A": "of a", "B": "of b"})
    assert done.returncode == 0, done.stderr
    assert "2 runs left out: excluded" in done.stdout
    assert "#0 : x=1 value='a, \\x1b[31mb' read=A" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr, "values reach the terminal as data"
    assert [list(run.overrides) for run in locally.runs()] == [
        ["x=1", "value='a, \x1b[31mb'", "read=A"],
        ["x=1", "value='a, \x1b[31mb'", "read=B"],
        ["x=2", "read=A"],
        ["x=2", "read=B"],
    ]
    assert [run.result for run in locally.runs()] == ["a, \x1b[31mb", "a, \x1b[31mb", "of a", "of b"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("hydra.sweeper.zip=[x,y]", "hpcorch: hydra.sweeper.zip names y, which this sweep does not set; it sets x"),
        (
            "hydra.sweeper.max_batch_size=0",
            "hpcorch: hydra.sweeper.max_batch_size is 0, but has to be a whole number",
        ),
        ("+hydra.sweeper.zpi=[x]", "hydra.sweeper.zpi is not a key of hydra/sweeper=hpcorch; did you mean zip?"),
    ],
)
def test_what_no_sweep_can_be_made_of_is_said_in_a_sentence(locally, key, said):
    done = locally.launch("hydra/sweeper=hpcorch", key, "x=1,2")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Error in call" not in done.stderr
    assert not locally.ledger.exists()
