"""What the documentation says of shared resources: the profile can be read, a dry run says what is shown."""

from __future__ import annotations

from dataclasses import fields

from hpcorch.resources.profile.file import parse_profile
from hpcorch.resources.profile.profile import (
    Enforcement,
    Envelope,
    Policies,
    Pool,
    PoolLimits,
    Prices,
    Profile,
    Resource,
)
from tests.docs.pages import GUIDE, Page, first_cells

PROFILE = GUIDE.block("file: .hpcorch/site.yaml")


def test_the_profile_can_be_read():
    profile = parse_profile(PROFILE, "site.yaml")
    assert {one.enforced for one in profile.resources.values()} == set(Enforcement) - {Enforcement.SYSTEM}


def test_a_dry_run_says_what_is_shown(project):
    project.write(".hpcorch/site.yaml", PROFILE)
    (command,) = GUIDE.commands("sharing")
    said = project.run(command).splitlines()
    shown = GUIDE.block("shows: sharing").splitlines()
    assert [line for line in said if line in shown] == shown
    assert "#SBATCH --partition=preempt" in said


def test_a_sweep_beyond_the_envelope_is_refused_with_the_numbers(project):
    project.write(".hpcorch/site.yaml", PROFILE)
    (command,) = GUIDE.commands("sharing")
    said = project.run(f"{command} hydra.launcher.timeout_min=60000", code=1)
    assert "6000 GPU-hours in the worst case, and envelope.max_gpu_hours is 2000" in said


def test_runs_hold_a_lease_as_written(project):
    """Two at a time of five slots, so that of three runs one waits for another."""
    folder = project.folder / "leases"
    folder.mkdir()
    profile = PROFILE.replace("/shared/hpcorch-leases", str(folder)).replace("capacity: 10", "capacity: 5")
    project.write(".hpcorch/site.yaml", profile)
    given = """
import time
from pathlib import Path
held = Path("held")
def copy_data_to_node():
    mine = held / hpcorch.current_run().id.replace("/", "-")
    held.mkdir(exist_ok=True)
    mine.touch()
    time.sleep(0.3)
    assert len(list(held.iterdir())) <= 2
    mine.unlink()
"""
    project.write("staging.py", GUIDE.task("lease", given=given))
    project.run("python staging.py -m hydra/launcher=hpcorch_local hydra.launcher.slots=3 +part=1,2,3")
    told = "select json_extract(body, '$.stage') as stage, count(*) from v_events where kind = 'lease-reported'"
    stages = project.run(f'hpcorch query --csv "{told} group by stage"')
    assert "held,3" in stages
    assert "released,3" in stages


def test_every_key_of_the_profile_is_documented():
    keys = {one.name for of in (Profile, Resource, Pool) for one in fields(of)} - {"name", "source"}
    for section, of in (
        ("envelope", Envelope),
        ("policies", Policies),
        ("prices", Prices),
        ("limits", PoolLimits),
    ):
        keys |= {f"{section}.{one.name}" for one in fields(of)}
    assert keys - {"limits"} <= first_cells(Page("docs/guide/sharing.md").text)
