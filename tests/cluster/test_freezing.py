"""What was submitted is what runs, on real daemons: everything is changed while the sweep is held."""

from __future__ import annotations

import json
import textwrap

from hpcorch.ledger.store import Ledger
from hpcorch.model.events import AttemptVerified, CodeFrozen, DriftFound
from tests.support.waiting import wait_until

SCRIPT = """
import pathlib
import hydra
import wordlib
import helpers

WORD = "frozen script"

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    import late
    return {
        "script": WORD, "helper": helpers.WORD, "late": late.WORD, "yaml": cfg.word, "package": wordlib.WORD,
        "data": pathlib.Path("data.txt").read_text(),
    }

if __name__ == "__main__":
    main()
"""


def install(as_alice, site_packages, version: str) -> None:
    """A package of one module, in place of any other version of it."""
    about = site_packages / f"wordlib-{version}.dist-info"
    program = f"""
        import pathlib, shutil
        for old in pathlib.Path({str(site_packages)!r}).glob("wordlib-*"):
            shutil.rmtree(old)
        about = pathlib.Path({str(about)!r})
        about.mkdir()
        (about.parent / "wordlib.py").write_text("WORD = 'package {version}'\\n")
        (about / "METADATA").write_text("Metadata-Version: 2.1\\nName: wordlib\\nVersion: {version}\\n")
        (about / "RECORD").write_text("wordlib.py,,\\n{about.name}/METADATA,,\\n{about.name}/RECORD,,\\n")
    """
    as_alice.output(["python", "-c", textwrap.dedent(program)])


def make_venv(lab, as_alice, folder):
    """A virtual environment that alice may change, with hpcorch from the cluster's; its site-packages."""
    as_alice.output(["python", "-m", "venv", "--without-pip", str(folder)])
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (theirs,) = lab.venv.glob("lib/python3*/site-packages")
    line = f"import site; site.addsitedir({str(theirs)!r})\n"
    as_alice.output(["python", "-c", f"open({str(site_packages / 'lab.pth')!r}, 'w').write({line!r})"])
    return site_packages


def test_a_held_sweep_runs_its_code_and_configuration_as_frozen_and_reports_a_changed_package(
    lab, as_alice, workspace
):
    site_packages = make_venv(lab, as_alice, workspace / "venv")
    install(as_alice, site_packages, "1.0")
    project = workspace / "project"
    files = {
        "app.py": SCRIPT,
        "helpers.py": "WORD = 'frozen helper'\n",
        "late.py": "WORD = 'frozen late'\n",
        "conf/config.yaml": "x: 0\nword: frozen yaml\n",
    }
    as_alice.output(["mkdir", "-p", str(project / "conf")])
    for name, content in {**files, "data.txt": "data"}.items():
        as_alice.output(["python", "-c", f"open({str(project / name)!r}, 'w').write({content!r})"])

    first = as_alice.output(["sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true"])
    flags = ["x=1,2", "hydra.launcher.detach=true", f"hydra.launcher.dependency=afterany:{first}"]
    python = str(workspace / "venv" / "bin" / "python")
    as_alice.output([python, "app.py", "-m", "hydra/launcher=hpcorch_slurm", *flags], cwd=project)
    as_alice.output(["hpcorch", "hold", "last"], cwd=project)
    for name, content in files.items():
        edited = content.replace("frozen", "edited")
        as_alice.output(["python", "-c", f"open({str(project / name)!r}, 'w').write({edited!r})"])
    install(as_alice, site_packages, "2.0")
    as_alice.output(["hpcorch", "release", "last"], cwd=project)
    as_alice.output(["scancel", first])

    def runs():
        return json.loads(as_alice(["hpcorch", "status", "last", "--json"], cwd=project).stdout)["runs"]

    wait_until(lambda: {run["state"] for run in runs()} == {"COMPLETED"}, timeout_s=180, interval_s=2)
    expected = {
        "script": "frozen script",
        "helper": "frozen helper",
        "late": "frozen late",
        "yaml": "frozen yaml",
        "package": "package 2.0",
        "data": "data",
    }
    assert [run["result"] for run in runs()] == [expected, expected]

    with Ledger.open(project / ".hpcorch" / "ledger.db") as ledger:
        sweep = ledger.sweep("last").sweep.id
        facts = [event.fact for event in ledger.events(sweep)]
    drift = [fact for fact in facts if isinstance(fact, DriftFound)]
    assert [(one.aspect, one.what, one.severity, one.policy) for one in drift] == [
        ("environment", "packages wordlib", "major", "record")
    ] * 2
    assert all(one.before.startswith("1.0 sha256:") and one.after.startswith("2.0 sha256:") for one in drift)
    (code,) = [fact for fact in facts if isinstance(fact, CodeFrozen)]
    verified = [fact for fact in facts if isinstance(fact, AttemptVerified)]
    assert [(one.code_digest, one.entry) for one in verified] == [(code.digest, "program")] * 2
