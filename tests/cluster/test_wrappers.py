"""Sites whose sbatch is a wrapper: only the job that shows a submission's token is touched."""

from __future__ import annotations

import json

import pytest

# Prints the id of another job, which $OTHER has.
LIES = """#!/bin/bash
case " $* " in *" --test-only "*) exec /usr/bin/sbatch "$@" ;; esac
/usr/bin/sbatch "$@" > /dev/null && echo "$OTHER"
"""
# Hands over a copy of the script, without its comment.
COPIES = """#!/bin/bash
copy=$(mktemp)
sed '/^#SBATCH --comment/d' "${@: -1}" > "$copy"
exec /usr/bin/sbatch "${@:1:$#-1}" "$copy"
"""
APP = """import hydra
@hydra.main(version_base=None, config_path=None)
def main(cfg):
    return cfg.x
main()
"""


@pytest.mark.parametrize("wrapper", [LIES, COPIES], ids=["lies", "copies"])
def test_the_array_that_shows_the_token_is_the_sweeps_and_no_other_one_is_touched(
    as_alice, lab, workspace, wrapper
):
    other = as_alice.output(["sbatch", "--parsable", "--hold", "--array=0-2", "--wrap=true"])
    folder = workspace / "wrapper"
    folder.mkdir()
    (folder / "sbatch").write_text(wrapper)
    (folder / "sbatch").chmod(0o755)
    (workspace / "app.py").write_text(APP)
    words = ["python", "app.py", "-m", "hydra/launcher=hpcorch_slurm", "+x=1,2"]
    path = f"{folder}:{lab.venv}/bin:/usr/bin:/bin"
    done = as_alice(["env", f"PATH={path}", *words], env={"OTHER": other})
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(as_alice.output(["hpcorch", "status", "last", "--json"]))["runs"]
    assert [run["state"] for run in runs] == ["COMPLETED", "COMPLETED"]
    assert all(run["job_id"].partition("_")[0] != other for run in runs)
    waiting = as_alice.output(["squeue", "-h", "-r", "-j", other, "-o", "%T %r"])
    assert waiting.splitlines() == ["PENDING JobHeldUser"] * 3
