"""Which of the recorded environment variables a repetition sets, and which it only tells."""

from __future__ import annotations

from hpcorch.services.reproduction.variables import as_recorded, export_line, other_places

RECORDED = {
    "OMP_NUM_THREADS": "2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TZ": "Europe/Berlin",
    "PATH": "/opt/bin:/bin",
    "LD_LIBRARY_PATH": "/opt/lib",
    "XLA_FLAGS": "--xla_dump_to=/scratch/a b",
    "SLURM_JOB_ID": "7",
    "CUDA_VISIBLE_DEVICES": "3",
}


def test_what_says_how_to_compute_is_set_or_not_set_as_it_was():
    here = {
        "OMP_NUM_THREADS": "8",
        "MKL_DYNAMIC": "FALSE",
        "PATH": "/bin",
        "SLURM_JOB_ID": "9",
        "EDITOR": "vi",
        "TORCH_HUB_TOKEN": "s3cret",
    }
    assert as_recorded(here, RECORDED) == {
        "OMP_NUM_THREADS": "2",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TZ": "Europe/Berlin",
        "PATH": "/bin",
        "SLURM_JOB_ID": "9",
        "EDITOR": "vi",
        "TORCH_HUB_TOKEN": "s3cret",
    }


def test_variables_that_name_places_are_a_line_for_the_shell():
    line = export_line(other_places({"PATH": "/opt/bin:/bin"}, RECORDED))
    assert line == "export LD_LIBRARY_PATH=/opt/lib XLA_FLAGS='--xla_dump_to=/scratch/a b'"
    assert other_places(RECORDED, RECORDED) == {}
