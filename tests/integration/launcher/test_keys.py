"""Every key of the Slurm launcher, from the command line to the batch script; when a launcher refuses to begin."""

from __future__ import annotations

import sys

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from hpcorch.launcher.config import OWN_SWEEPER, slurm_configuration
from hpcorch.launcher.errors import LaunchError
from hpcorch.launcher.launch import SlurmSweepLauncher
from hpcorch.launcher.results import RunHandle, UnfinishedJobReturn
from hpcorch.model.states import RunState
from tests.support.apps import make_app

# What a user types, and the line of the batch script that must come of it.
KEYS = {
    "name=my job": "#SBATCH --job-name='my job'",
    "timeout_min=7": "#SBATCH --time=7",
    "cpus_per_task=3": "#SBATCH --cpus-per-task=3",
    "gpus_per_node=a100:2": "#SBATCH --gpus-per-node=a100:2",
    "gpus_per_task=1": "#SBATCH --gpus-per-task=1",
    "cpus_per_gpu=4": "#SBATCH --cpus-per-gpu=4",
    "tasks_per_node=2": "#SBATCH --ntasks-per-node=2",
    "nodes=2": "#SBATCH --nodes=2",
    "mem_gb=1.5": "#SBATCH --mem=1536MB",
    "mem_per_gpu=2G": "#SBATCH --mem-per-gpu=2G",
    "mem_per_cpu=1G": "#SBATCH --mem-per-cpu=1G",
    "partition=p": "#SBATCH --partition=p",
    "qos=q": "#SBATCH --qos=q",
    "account=a": "#SBATCH --account=a",
    "constraint='x&y'": "#SBATCH --constraint='x&y'",
    "exclude='n[1-2]'": "#SBATCH --exclude='n[1-2]'",
    "nodelist=n3": "#SBATCH --nodelist=n3",
    "reservation=r": "#SBATCH --reservation=r",
    "gres='gpu:a100:2,shard:1'": "#SBATCH --gres=gpu:a100:2,shard:1",
    "licenses={scratch: 2}": "#SBATCH --licenses=scratch:2",
    "dependency='afterok:1'": "#SBATCH --dependency=afterok:1",
    "nice=5": "#SBATCH --nice=5",
    "array_parallelism=1": "#SBATCH --array=0-1%1",
    "setup=[module load cuda]": "module load cuda",
    "srun_args=['--mpi=none']": "--mpi=none",
    "python=apptainer exec x.sif python": "apptainer exec x.sif python -O",
    "python_options=['-O']": " python -O -u -m hpcorch.runtime",
    "stderr_to_stdout=false": "#SBATCH --error=",
    "submitit_folder=/logs/%j": "#SBATCH --output=/logs/%A_%a/%A_%a_0_log.out",
    "signal_delay_s=33": "#SBATCH --signal=USR1@33",
    "+additional_parameters.mail_type=END": "#SBATCH --mail-type=END",
    "comment=mine": "#SBATCH --comment='mine hpcorch-throttle:sweep:",
}


def test_every_key_reaches_the_batch_script(tmp_path):
    app = make_app(tmp_path / "project", "hpcorch_slurm")
    flags = [f"+hydra.launcher.{key[1:]}" if key[0] == "+" else f"hydra.launcher.{key}" for key in KEYS]
    done = app.launch("x=1,2", "hydra.launcher.dry_run=true", *flags)
    assert done.returncode == 0, done.stderr
    missing = [line for line in KEYS.values() if line not in done.stdout]
    assert not missing, done.stdout
    assert not app.ledger.exists()
    untested = {*slurm_configuration()} - {key.lstrip("+").split("=")[0].split(".")[0] for key in KEYS}
    ours = {"seed", "tags", "compact", "dry_run", "detach", "reuse_sweep_dir", "max_num_timeout", "drift", "needed"}
    ours |= {"entry", "runs_per_task", "parallel_per_task", "isolation"}
    assert untested == ours | {"_target_", "requeue_while_progress", "max_retries", "keeper", "pool", "resources"}


def test_a_plain_run_asks_for_nothing_that_nobody_asked_for(tmp_path):
    app = make_app(tmp_path / "project", "hpcorch_slurm")
    script = app.launch("x=1", "hydra.launcher.dry_run=true").stdout
    flags = {
        line.split("=")[0].split("--")[1].strip() for line in script.splitlines() if line.startswith("#SBATCH")
    }
    expected = {"array", "comment", "hold", "job-name", "open-mode", "output", "requeue", "signal", "time"}
    assert flags == expected
    assert f"exec {sys.executable} -u -m hpcorch.runtime" in script


def config(folder, sweeper):
    text = {
        "sweeper": {"_target_": sweeper},
        "sweep": {"dir": str(folder)},
        "job": {"name": "a"},
        "job_logging": None,
    }
    return OmegaConf.create({"hydra": text})


@pytest.mark.parametrize("key", ["detach", "dry_run"])
def test_a_sweeper_that_needs_values_may_not_be_left(tmp_path, key, monkeypatch):
    monkeypatch.setattr("hpcorch.launcher.launch._loader", lambda context: None)
    monkeypatch.setattr(
        "hpcorch.launcher.composing.compose.install_composer", lambda context, loader, config: (context, None)
    )
    launcher = SlurmSweepLauncher(**{key: True})
    for sweeper in ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", OWN_SWEEPER):
        launcher.setup(hydra_context=None, task_function=None, config=config(tmp_path, sweeper))
    optuna = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    with pytest.raises(LaunchError, match=f"{key}=true .*OptunaSweeper needs every result"):
        launcher.setup(hydra_context=None, task_function=None, config=config(tmp_path, optuna))


def test_a_run_that_was_left_is_never_called_complete():
    handle = RunHandle(sweep="s", run=3, state=RunState.SUBMITTED, directory="/d")
    left = UnfinishedJobReturn(handle, overrides=["x=1"], rebuild=lambda: OmegaConf.create({"x": 1, "hydra": {}}))
    assert left.status is JobStatus.UNKNOWN
    assert left.return_value is handle
    assert str(left.return_value) == "s/3 (SUBMITTED)"
    assert left.cfg == {"x": 1}
