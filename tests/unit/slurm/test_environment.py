"""Which variables Slurm's commands, and through sbatch the job, get to see."""

from __future__ import annotations

from hpcorch.slurm.commands import query_environment, submission_environment

INSIDE = {
    "HOME": "/home/alice",
    "SLURM_CONF": "/etc/slurm.conf",
    "SLURM_CLUSTERS": "east",
    "SLURM_JOB_ID": "7",
    "SLURM_MEM_PER_NODE": "1024",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURMD_NODENAME": "n1",
    "SRUN_DEBUG": "3",
    "PMIX_RANK": "0",
    "PMI_RANK": "0",
    "CUDA_VISIBLE_DEVICES": "1",
    "SBATCH_ACCOUNT": "lab",
}


def test_what_belongs_to_the_surrounding_job_does_not_leak():
    kept = {"HOME", "SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_ACCOUNT"}
    assert set(submission_environment(INSIDE)) == kept


def test_outside_of_a_job_the_users_choice_of_gpus_stays():
    assert submission_environment({"CUDA_VISIBLE_DEVICES": "1"}) == {"CUDA_VISIBLE_DEVICES": "1"}


def test_a_users_defaults_give_way_to_what_the_script_states():
    defaults = {"SBATCH_PARTITION": "a", "SBATCH_TIMELIMIT": "5", "SBATCH_MEM_PER_NODE": "1G", "SBATCH_QOS": "q"}
    assert submission_environment(defaults, {"partition", "time", "mem"}) == {"SBATCH_QOS": "q"}
    assert submission_environment({"SBATCH_WAIT": "1", "SBATCH_OPEN_MODE": "truncate"}, {"open-mode"}) == {}


def test_questions_are_asked_without_personal_formats():
    asked = query_environment({"SQUEUE_FORMAT": "%j", "SCANCEL_INTERACTIVE": "1", "SLURM_TIME_FORMAT": "relative"})
    stated = {"TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C.UTF-8", "SLURM_BITSTR_LEN": "0"}
    assert asked == stated
    assert query_environment({"SBATCH_CLUSTERS": "west"})["SLURM_CLUSTERS"] == "west"
