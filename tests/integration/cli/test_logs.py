"""``hpcorch logs``: what runs wrote, as bytes, each attempt's own part."""

from __future__ import annotations

import json

import pytest

from tests.support.command_line import CommandLine
from tests.support.sweeps import finished_sweep, make_sweep


def test_one_run_is_printed_as_it_is_and_several_get_headings(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    assert hpcorch("logs", "last/0").out == "epoch 1\nepoch 2\n"
    assert hpcorch("logs").out == (
        "==> run 0, attempt s0.r0 (COMPLETED) <==\nepoch 1\nepoch 2\n"
        "==> run 1, attempt s0.r0 (FAILED) <==\nepoch 1\nno good\n"
    )
    assert hpcorch("logs", "-s", "F", "-n", "1").out == "no good\n"


@pytest.mark.parametrize(
    ("content", "lines", "shown"),
    [
        (b"a\nb\nc\n", 2, "b\nc\n"),
        (b"a\nb\nc", 2, "b\nc"),
        (b"a\nb\n", 5, "a\nb\n"),
        (b"a\nb\n", 0, ""),
        (b"", 3, ""),
        (b"\n\n\n", 2, "\n\n"),
        (b"x" * 200_000 + b"\n" + b"y" * 200_000 + b"\n", 1, "y" * 200_000 + "\n"),
    ],
)
def test_the_last_lines_are_found_from_the_end(hpcorch, sweep, content, lines, shown):
    sweep.start(0, content).end(1)
    assert hpcorch("logs", "last/0", "-n", lines).out == shown


def test_each_attempt_has_its_own_part_of_a_shared_file(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.start(0, b"first, killed\n")
    sweep.start(0, b"second\n", restart=1).end(1)
    sweep.ingest()
    assert hpcorch("logs", "last/0").out == "second\n"
    assert hpcorch("logs", "last/0", "--attempt", "s0.r0").out == "first, killed\n"
    wrong = hpcorch("logs", "last/0", "--attempt", "s7.r0")
    assert wrong.code == 2
    assert "s0.r0, s0.r1" in wrong.err


def test_bytes_that_are_no_text_are_printed_as_they_are(tmp_path, sweep, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep.start(0, b"\xff\x00\r 50%").end(1)
    CommandLine(capfdbinary)("logs", "last/0")
    # CommandLine reads what was captured; ask again to look at the bytes themselves.
    ran = CommandLine(capfdbinary)("logs", "last/0")
    assert ran.out == b"\xff\x00\r 50%"


def test_json_holds_the_text_and_where_it_is(hpcorch, sweep):
    started = sweep.start(0, b"caf\xc3\xa9 \xff\n")
    started.end(1)
    (part,) = json.loads(hpcorch("logs", "last/0", "--json").out)
    assert part["text"] == "café \\xff\n"
    assert (part["run"], part["attempt"], part["state"]) == (0, "s0.r0", "COMPLETED")
    assert (part["log"], part["start"], part["end"]) == (str(started.log), 0, None)


def test_what_exit_hooks_write_after_the_function_has_returned_is_shown(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    first = sweep.start(0, b"training\n")
    first.end(error="ValueError: no good")
    first.write(b"summary: first\n")
    second = sweep.start(0, b"again\n", restart=1)
    second.end(1)
    second.write(b"summary: second\n")
    sweep.ingest()
    assert hpcorch("logs", "last/0").out == "again\nsummary: second\n"
    assert hpcorch("logs", "last/0", "-n", "1").out == "summary: second\n"
    assert hpcorch("logs", "last/0", "--attempt", "s0.r0").out == "training\nsummary: first\n"


def test_a_run_that_has_not_started_has_no_log_yet(hpcorch, sweep):
    ran = hpcorch("logs", "last/1")
    assert (ran.code, ran.out) == (2, "")
    assert "no attempt of it has started (SUBMITTED)" in ran.err
    sweep.start(0, b"hello\n").end(1)
    both = hpcorch("logs")
    assert both.code == 0
    assert "hello" in both.out
    assert "run 1 has no log yet" in both.err


def test_a_log_that_is_gone_is_told_of(hpcorch, tmp_path):
    sweep = finished_sweep(tmp_path)
    sweep.layout.log(0, 0).unlink()
    ran = hpcorch("logs", "last/0")
    assert ran.code == 2
    assert "cannot be read" in ran.err
    both = hpcorch("logs")
    assert "no good" in both.out
    assert "s0_0.log" in both.err


def test_follow_goes_on_until_the_run_is_over_over_requeues(hpcorch, sweep, meanwhile):
    tasks = [sweep.start(0, b"one\n")]
    meanwhile(
        lambda: tasks[0].write(b"two\n"),
        lambda: tasks.append(sweep.start(0, b"again\n", restart=1)),
        lambda: (tasks[1].write(b"done\n"), tasks[1].end(0.5)),
    )
    ran = hpcorch("logs", "last/0", "-f")
    assert ran.code == 0
    assert ran.out == "one\ntwo\n==> run 0, attempt s0.r1 <==\nagain\ndone\n"


def test_follow_shows_what_exit_hooks_write_after_the_end(hpcorch, sweep, meanwhile):
    first = sweep.start(0, b"one\n")
    meanwhile(lambda: (first.end(1), first.write(b"summary\n")))
    ran = hpcorch("logs", "last/0", "-f")
    assert ran.out == "one\nsummary\n"


def test_follow_of_a_run_that_is_over_prints_it_and_ends(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    assert hpcorch("logs", "last/0", "-f", "-n", "1").out == "epoch 2\n"


def test_follow_excludes_what_it_cannot_do(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    assert hpcorch("logs", "-f", "--json").code == 2
    assert hpcorch("logs", "last/9", "-f").code == 2
