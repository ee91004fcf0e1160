"""Names and paths that no file system takes are refused with the key to shorten."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcorch.errors import UsageError
from hpcorch.launcher.composing.lengths import (
    check_log_name,
    check_run_directories,
    check_slurm_name,
    check_sweep_directory,
)

SWEEP = Path("/project/multirun")
DEEP = "/".join(["d" * 200] * 25)
LOGGING = {
    "handlers": {
        "console": {"class": "x"},
        "file": {"filename": "${hydra.runtime.output_dir}/${hydra.job.name}.log"},
    }
}


def check(directory: str) -> None:
    check_run_directories([SimpleNamespace(run=3, directory=directory)], SWEEP)


@pytest.mark.parametrize("name", ["n" * 256, "ü" * 128])
def test_a_run_whose_directory_has_a_name_of_more_than_255_bytes_is_refused(name):
    check(f"{SWEEP}/{name[:-1]}")
    with pytest.raises(
        UsageError, match=r"directory of run 3 .*has 256 bytes, .* at most 255: shorten hydra.sweep.subdir"
    ):
        check(f"{SWEEP}/a/{name}/b")


def test_the_key_that_has_the_long_name_is_to_blame():
    with pytest.raises(UsageError, match=r"shorten hydra\.sweep\.dir$"):
        check(f"/other/{'n' * 300}/0")
    with pytest.raises(UsageError, match=r"the sweep directory .*300 bytes.*: choose a shorter hydra\.sweep\.dir$"):
        check_sweep_directory(Path("/other") / ("n" * 300))


def test_a_path_that_leaves_no_room_for_the_files_in_it_is_refused():
    check(f"{SWEEP}/{'/'.join(['d' * 200] * 19)}")
    with pytest.raises(UsageError, match=r"a path of 50.. bytes.* Linux takes at most 4095"):
        check(f"{SWEEP}/{DEEP}")
    with pytest.raises(UsageError, match=r"a path of 50.. bytes"):
        check_sweep_directory(Path("/project") / DEEP)


def test_a_job_name_that_makes_too_long_a_log_file_is_refused():
    check_log_name("n" * 251, LOGGING)
    check_log_name("n" * 300, {"handlers": {"file": {"filename": "run.log"}}})
    check_log_name("n" * 300, {})
    with pytest.raises(UsageError, match=r"256 bytes, .*choose a shorter hydra\.job\.name"):
        check_log_name("n" * 252, LOGGING)


def test_a_name_that_slurm_does_not_take_is_refused():
    check_slurm_name("n" * 1024)
    with pytest.raises(UsageError, match=r"hydra\.launcher\.name has 1025 bytes"):
        check_slurm_name("n" * 1025)
