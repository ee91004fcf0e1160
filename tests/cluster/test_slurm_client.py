"""The command-line client on real daemons: the shared cases, each enumerated error text, jobs inside jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hpcorch.slurm.commands import submission_environment
from tests.support.waiting import wait_until

_TESTS = Path(__file__).parents[1]
_SUITE = (
    "__init__.py",
    "cluster/__init__.py",
    "cluster/real_slurm.py",
    "support/__init__.py",
    "support/conformance/__init__.py",
    "support/conformance/slurm_client.py",
    "support/waiting.py",
)

# sbatch's arguments -> a word that the explanation must hold. What a job's own options can say is in the shared
# cases; these are texts that additional_parameters or a site's limits lead to.
REFUSED_FLAGS = {
    "--time=soon": "--time",
    "--mem=much": "--mem",
    "--mail-type=NEVER": "--mail-type",
    "--frobnicate=1": "--frobnicate",
    "--dependency=sometime:1": "--dependency=sometime:1",
    "--nice=-10": "--nice",
    "--exclude=nosuchnode": "--exclude=nosuchnode",
    "--licenses=scratch:99": "--licenses=scratch:99",
    "--gpus-per-task=1": "tasks_per_node",
    "--mem-per-gpu=2G": "set gpus_per_node",
    "--gres=gpu:a100:1,gpu:1": "with and without a type",
    "--clusters=nosuchcluster": "nosuchcluster",
    f"--comment={'x' * 2000}": "longer than Slurm takes",
}

# What a held submission would hide until nothing ever starts.
NEVER_RUNNABLE = ("--gres=gpu:nosuchtype:1", "--gres=gpu:99", "--mem=9999G", "--cpus-per-task=9999", "--nodes=99")

EXPLAIN = """
import json, pathlib, sys
from hpcorch.errors import HpcorchError
from hpcorch.slurm.client import CliClient
client, script, found = CliClient(), pathlib.Path("job.sh"), {}
for flag in json.loads(sys.argv[2]):
    script.write_text(f"#!/bin/bash\\n#SBATCH {flag}\\n#SBATCH --output=/dev/null\\ntrue\\n")
    try:
        getattr(client, sys.argv[1])(script)
    except HpcorchError as error:
        found[flag] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


def test_the_cluster_keeps_the_promises_of_the_fake(as_alice, workspace):
    suite = workspace / "suite" / "tests"
    for name in _SUITE:
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_TESTS / name, suite / name)
    command = ["python", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cluster/real_slurm.py"]
    variables = {"PYTHONPATH": str(suite.parent), "CONFORMANCE_FOLDER": str(workspace)}
    done = as_alice(command, cwd=suite.parent, env=variables, timeout_s=280)
    assert done.returncode == 0, done.stdout


def test_every_text_of_the_table_is_explained_with_its_value(as_alice):
    found = json.loads(as_alice.output(["python", "-c", EXPLAIN, "submit", json.dumps(list(REFUSED_FLAGS))]))
    for flag, word in REFUSED_FLAGS.items():
        kind, sentence = found.get(flag, ("accepted", ""))
        assert kind == "SubmissionRejectedError", f"{flag}: {kind}: {sentence}"
        assert word in sentence.partition("Slurm said")[0], sentence


def test_what_could_never_run_is_told_before_it_is_submitted(as_alice):
    found = json.loads(as_alice.output(["python", "-c", EXPLAIN, "check", json.dumps(NEVER_RUNNABLE)]))
    for flag in NEVER_RUNNABLE:
        kind, sentence = found[flag]
        assert kind == "SubmissionRejectedError"
        assert flag in sentence, sentence


def test_a_controller_that_does_not_answer_is_unavailable(as_alice, workspace):
    conf = Path(as_alice.output(["printenv", "SLURM_CONF"])).read_text()
    lines = [line for line in conf.splitlines() if not line.startswith("SlurmctldPort=")]
    (workspace / "dead.conf").write_text("\n".join([*lines, "SlurmctldPort=1"]) + "\n")
    client = f"import os; os.environ['SLURM_CONF'] = {str(workspace / 'dead.conf')!r}\n"
    found = json.loads(as_alice.output(["python", "-c", client + EXPLAIN, "submit", '["--time=5"]']))
    assert found["--time=5"][0] == "SlurmUnavailableError"


PARENT = """#!/bin/bash
#SBATCH --array=3 --exclusive --nodes=1 --cpus-per-task=4 --mem=1G --gres=gpu:1 --output=parent.log
{python} - <<'PYTHON'
import pathlib
from hpcorch.slurm.client import CliClient
CliClient().submit(pathlib.Path("child.sh"))
PYTHON
"""

CHILD = """#!/bin/bash
#SBATCH --ntasks=2 --output=child.log
echo "array ${SLURM_ARRAY_TASK_ID-none} cpus $SLURM_CPUS_ON_NODE gpus ${CUDA_VISIBLE_DEVICES-none}"
exec srun bash -c 'echo "rank $SLURM_PROCID memory ${SLURM_MEM_PER_NODE-default}"'
"""


def test_a_job_submitted_from_inside_a_job_inherits_nothing_of_it(as_alice, workspace):
    python = as_alice.output(["python", "-c", "import sys; print(sys.executable)"])
    (workspace / "parent.sh").write_text(PARENT.format(python=python))
    (workspace / "child.sh").write_text(CHILD)
    as_alice.output(["sbatch", "parent.sh"])
    log = workspace / "child.log"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
    first, *ranks = log.read_text().splitlines()
    assert first == "array none cpus 2 gpus none"
    assert sorted(ranks) == ["rank 0 memory default", "rank 1 memory default"]


@pytest.mark.parametrize("name", ["SBATCH_ARRAY_INX", "SBATCH_WAIT"])
def test_a_variable_that_would_overrule_the_script_is_dropped(as_alice, workspace, name):
    value = "7-9" if name == "SBATCH_ARRAY_INX" else "1"
    (workspace / "job.sh").write_text("#!/bin/bash\n#SBATCH --array=0-1 --hold\n#SBATCH --array=0-1\ntrue\n")
    cleaned = submission_environment({name: value}, {"array"})
    assert cleaned == {}
    script = (
        "import os, pathlib; from hpcorch.slurm.client import CliClient\n"
        f"client = CliClient(dict(os.environ, {name}={value!r}))\n"
        "job = client.submit(pathlib.Path('job.sh')).job_id\n"
        "print([row.index for row in client.queue([job])])"
    )
    assert as_alice.output(["python", "-c", script]) == "[0, 1]"
