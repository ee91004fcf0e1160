"""When a task that shares throttled resources looks after them."""

from __future__ import annotations

import os
import threading
import time

import pytest

from hpcorch import process
from hpcorch.resources.throttle_files import ThrottleFiles
from hpcorch.runtime.attempt import rebalancing as sharing
from hpcorch.runtime.attempt.rebalancing import Sharing


@pytest.fixture
def files(tmp_path):
    files = ThrottleFiles(tmp_path)
    files.looked.touch()
    return files


@pytest.fixture
def looks(monkeypatch, tune, files):
    """The looks that were made; each is seen in the file, as a real one is."""
    made = []
    looked = threading.Event()

    def run(argv, **_options):
        made.append(argv[-1])
        files.looked.touch()
        looked.set()

    monkeypatch.setattr(process, "run", run)
    tune(REBALANCE_JITTER_S=0.0)
    return made, looked


def last_look(files, age_s):
    os.utime(files.looked, (time.time() - age_s,) * 2)


def test_a_task_looks_beside_its_work_while_others_wait(files, looks):
    made, looked = looks
    files.short.touch()
    last_look(files, 100)
    task = Sharing(files.folder)
    task.begin()
    assert looked.wait(10)
    task.end(look=True)
    assert made == [str(files.folder)]


def test_a_task_that_is_over_looks_unless_somebody_just_did(files, looks, monkeypatch, tune):
    made, _ = looks
    tune(REBALANCE_JITTER_S=1000.0)
    monkeypatch.setattr(sharing.random, "random", lambda: 1.0)
    files.short.touch()
    for age_s, count in ((0, 0), (100, 1)):
        task = Sharing(files.folder)
        task.begin()
        last_look(files, age_s)
        task.end(look=True)
        assert len(made) == count


@pytest.mark.parametrize("waits", [True, False])
def test_a_task_does_not_look_where_nobody_waits_or_when_it_was_told_to_stop(
    files, looks, monkeypatch, tune, waits
):
    made, _ = looks
    tune(REBALANCE_JITTER_S=1000.0)
    monkeypatch.setattr(sharing.random, "random", lambda: 1.0)
    if waits:
        files.short.touch()
    last_look(files, 100)
    task = Sharing(files.folder)
    task.begin()
    task.end(look=not waits)
    assert made == []


def test_a_look_that_cannot_be_started_does_no_harm(files, monkeypatch, tune):
    def run(argv, **_options):
        raise process.CommandMissingError(argv[0])

    monkeypatch.setattr(process, "run", run)
    tune(REBALANCE_PAUSES_S=(0.0, 0.0))
    files.short.touch()
    last_look(files, 100)
    task = Sharing(files.folder)
    task.begin()
    task.end(look=True)
