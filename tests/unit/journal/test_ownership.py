"""Whose a ledger or a site profile is that lies on the way up decides whether it serves this user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcorch.errors import ForeignFileError
from hpcorch.journal.project_search import default_ledger, find_ledger, served_folder
from hpcorch.ledger import Ledger, find_own_record
from hpcorch.model.entities import Sweep
from hpcorch.model.events import CONTROL_SOURCE, Event
from hpcorch.model.folding.sweep import fold_sweep
from hpcorch.services.site.project_profile import find_profile, project_at
from hpcorch.services.tending.ownership import is_own
from hpcorch.users import name_of
from tests.support.events import SWEEP, created
from tests.support.ownership import SOMEBODY, Disown
from tests.support.sweeps import make_sweep


@pytest.fixture
def disowned(monkeypatch: pytest.MonkeyPatch) -> Disown:
    return Disown(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a ledger and a profile, and a folder in it."""
    for folder in (".hpcorch", ".git", "below"):
        (tmp_path / folder).mkdir()
    for name in ("ledger.db", "site.yaml"):
        (tmp_path / ".hpcorch" / name).touch()
    return tmp_path


def test_ones_own_ledger_and_profile_on_the_way_up_serve(project: Path) -> None:
    below = project / "below"
    assert find_ledger(below) == default_ledger(below) == project / ".hpcorch/ledger.db"
    assert find_profile(project_at(below), {}) == project / ".hpcorch/site.yaml"


def test_another_users_are_passed_over_with_a_line_that_says_how_to_use_them(
    project: Path, disowned: Disown, caplog: pytest.LogCaptureFixture
) -> None:
    disowned(project / ".hpcorch")
    below = project / "below"
    assert find_ledger(below) is None
    assert default_ledger(below) == below / ".hpcorch/ledger.db"
    assert find_profile(project, {"XDG_CONFIG_HOME": str(project)}) is None
    assert find_profile(project_at(below), {"HPCORCH_SITE": str(project / ".hpcorch/site.yaml")})
    (told,) = caplog.messages
    assert f"{project}/.hpcorch belongs to {SOMEBODY}" in told
    assert "--ledger" in told


def test_of_another_users_only_what_can_be_read_is_offered(
    project: Path, disowned: Disown, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disowned(project / ".hpcorch")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    assert find_ledger(project / "below") is None
    (told,) = caplog.messages
    assert "--ledger" not in told
    assert f"ask {SOMEBODY} to share it with a group that you are in, by `hpcorch init --group NAME` there" in told


def test_a_ledger_in_ones_home_is_for_the_folder_that_it_was_made_for(
    project: Path, disowned: Disown, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served_folder(project / ".hpcorch/ledger.db", Path("/")) == project
    monkeypatch.setenv("XDG_DATA_HOME", str(project / "data"))
    monkeypatch.setattr("hpcorch.journal.project_search.may_serve", lambda _: False)
    outside = default_ledger(project)
    assert outside.is_relative_to(project / "data")
    assert served_folder(outside, project / "below") == project


def test_a_folder_of_roots_that_is_closed_to_others_is_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != project / ".hpcorch")
    assert find_ledger(project / "below") is None


def recorded(user: str, directory: Path) -> Sweep:
    fact = created(directory=str(directory), user=user)
    return fold_sweep(Event(sweep=SWEEP, source=CONTROL_SOURCE, seq=0, time="", fact=fact))


def test_a_sweep_is_its_directorys_owners_whatever_its_record_says(tmp_path: Path, disowned: Disown) -> None:
    (tmp_path / ".hpcorch").mkdir()
    sweep = recorded(name_of(os.geteuid()), tmp_path)
    assert is_own(sweep)
    assert not is_own(recorded("somebody", tmp_path))
    disowned(tmp_path / ".hpcorch")
    assert not is_own(sweep)


def test_objects_of_another_users_sweep_are_not_read(tmp_path: Path, disowned: Disown) -> None:
    sweep = make_sweep(tmp_path)
    sweep.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        known = ledger.sweep(sweep.id).sweep
        assert find_own_record(ledger, known) == sweep.layout
        disowned(sweep.layout.state)
        with pytest.raises(ForeignFileError, match="would execute what"):
            find_own_record(ledger, known)
