"""What of the environment is recorded, what is not, and what a difference means."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from hpcorch.model.drift import Severity
from hpcorch.provenance.environment.changes import differences, grouped
from hpcorch.provenance.environment.packages import InstalledFiles, owners, package_folders, packages
from hpcorch.provenance.environment.record import (
    Environment,
    container,
    fingerprint,
    image_file,
    parse_gpus,
    record,
    selected_variables,
)


def install(folder: Path, name: str, version: str, files: dict[str, str], *, editable: bool = False) -> Path:
    """A package as pip leaves it."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    lines = []
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")
        lines.append(f"{file},sha256={digest},{len(content)}\n")
    (about / "RECORD").write_text("".join(lines))
    if editable:
        (about / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))
    return about


@pytest.fixture
def site(tmp_path) -> Path:
    folder = tmp_path / "lib/site-packages"
    install(folder, "Some_Thing", "1.2", {"thing/__init__.py": "x = 1\n"})
    install(folder, "mine", "0.1", {}, editable=True)
    return folder


def test_packages_are_recorded_with_version_and_digest(site):
    found = packages([site])
    assert list(found) == ["mine", "some-thing"]
    digest = hashlib.sha256((site / "Some_Thing-1.2.dist-info/RECORD").read_bytes()).hexdigest()
    assert found["some-thing"] == f"1.2 sha256:{digest}"
    assert found["mine"].startswith("0.1 sha256:")
    assert found["mine"].endswith(" editable")


def test_the_package_that_is_imported_first_counts(site, tmp_path):
    other = tmp_path / "other/site-packages"
    install(other, "some-thing", "3", {})
    assert packages([other, site])["some-thing"].startswith("3 ")
    assert packages([site, other])["some-thing"].startswith("1.2 ")


def test_our_own_interpreter_is_recorded():
    found = record(slurm_release="26.05.0")
    assert found.interpreter["version"] == sys.version.split(maxsplit=1)[0]
    assert found.slurm == {"release": "26.05.0"}
    assert "pytest" in found.packages
    assert found.platform["kernel"] == os.uname().release
    assert Environment.from_plain(json.loads(json.dumps(found.as_plain()))) == found


@pytest.mark.parametrize("known", [True, False], ids=["owners known", "owners not known"])
def test_a_changed_module_of_a_package_is_found_and_an_untouched_one_is_not(site, known):
    def altered():
        return InstalledFiles(owners([site]) if known else None).altered([site], [str(site / "thing/__init__.py")])

    file = site / "thing/__init__.py"
    assert altered() == {}
    later = time.time() + 60
    os.utime(file, (later, later))
    assert altered() == {}
    file.write_text("x = 2\n")
    os.utime(file, (later, later))
    assert altered() == {"thing/__init__.py": "thing/__init__.py was changed after Some_Thing-1.2 was installed"}


def test_secrets_are_never_recorded():
    variables = {
        "OMP_NUM_THREADS": "4",
        "CUDA_VISIBLE_DEVICES": "0",
        "PYTHONHASHSEED": "0",
        "SLURM_JOB_ID": "1",
        "LD_LIBRARY_PATH": "/opt/lib",
        "SLURM_JWT": "x",
        "HYDRA_API_TOKEN": "x",
        "TORCH_SECRET": "x",
        "CONDA_PASSWORD": "x",
        "NCCL_KEY": "x",
        "PYTHON_CREDENTIALS": "x",
        "PYTHON_INDEX": "https://me:hunter2@example.org",
        "HOME": "/home/a",
    }
    assert list(selected_variables(variables)) == [
        "CUDA_VISIBLE_DEVICES",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "PYTHONHASHSEED",
        "SLURM_JOB_ID",
    ]


def test_loaded_modules_are_recorded_with_their_files():
    variables = {"LOADEDMODULES": "gcc/12:cuda/12.4", "_LMFILES_": "/m/gcc/12.lua:/m/cuda/12.4.lua"}
    assert record(variables=variables).modules == {"gcc/12": "/m/gcc/12.lua", "cuda/12.4": "/m/cuda/12.4.lua"}
    assert record(variables={"LOADEDMODULES": "gcc/12"}).modules == {"gcc/12": ""}


def test_a_container_is_recorded_with_its_image(tmp_path):
    image = tmp_path / "a.sif"
    image.write_bytes(b"image")
    found = container({"APPTAINER_CONTAINER": str(image), "APPTAINER_BIND": "/data"})
    assert found["APPTAINER_CONTAINER"] == str(image)
    assert "5 bytes" in found["image file"]
    assert "APPTAINER_BIND" not in found
    assert image_file({"SINGULARITY_CONTAINER": str(image)}) == image
    assert image_file({"SLURM_CONTAINER": "docker://x"}) is None


def test_devices_are_read_from_the_answer_of_nvidia_smi():
    answer = "0, GPU-ab, NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15, 96.00.74.00.01\nnonsense\n"
    assert parse_gpus(answer) == {
        "driver": "550.54.15",
        "model 0": "NVIDIA H100 80GB HBM3, 81559 MiB",
        "device 0": "GPU-ab, 96.00.74.00.01",
    }
    assert parse_gpus("") == {}


def test_an_nvidia_smi_that_hangs_is_not_waited_for(tmp_path, monkeypatch, tune):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tune(GPU_TIMEOUT_S=0.2)
    assert "did not answer within 0.2 s" in record().gpus["problem"]


@pytest.mark.parametrize("change", ["install", "upgrade", "path file", "module", "container"])
def test_the_fingerprint_shows_what_was_installed_or_loaded(site, tmp_path, change):
    path, variables = [str(site)], {"LOADEDMODULES": "gcc/12"}
    before = fingerprint(variables, path)
    assert fingerprint(dict(variables), path) == before
    if change == "install":
        install(site, "new", "1", {})
    elif change == "upgrade":
        (site / "mine-0.1.dist-info").rename(site / "mine-0.2.dist-info")
    elif change == "path file":
        (site / "x.pth").write_text("/srv/x\n")
    elif change == "module":
        variables["LOADEDMODULES"] = "gcc/13"
    else:
        variables["SLURM_CONTAINER"] = "docker://other"
    assert fingerprint(variables, path) != before


def test_the_fingerprint_does_not_depend_on_the_job(site):
    assert fingerprint({"SLURM_JOB_ID": "1"}, [str(site)]) == fingerprint({"SLURM_JOB_ID": "2"}, [str(site)])


def test_only_folders_of_installed_packages_are_listed():
    entries = ["/a/lib/python3.11/site-packages", "/project", "", "/a/lib/python3.11/site-packages"]
    assert package_folders(entries) == [Path("/a/lib/python3.11/site-packages")]


def test_differences_are_sentences_with_the_gravest_first():
    before = Environment(
        packages={"numpy": "1.26 sha256:a", "old": "1"},
        platform={"kernel": "5", "cpu": "x"},
        variables={"OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "1"},
    )
    after = Environment(
        packages={"numpy": "2.0 sha256:b", "new": "1"},
        platform={"kernel": "6", "cpu": "x"},
        variables={"OMP_NUM_THREADS": "2", "SLURM_JOB_ID": "2"},
        gpus={"model 0": "H100"},
    )
    found = [(one.severity, str(one)) for one in differences(before, after)]
    assert found == [
        (Severity.MAJOR, "packages new is 1 and was not there"),
        (Severity.MAJOR, "packages numpy was 1.26 sha256:a and is 2.0 sha256:b"),
        (Severity.MAJOR, "packages old was 1 and is not there"),
        (Severity.MAJOR, "variables OMP_NUM_THREADS was 1 and is 2"),
        (Severity.NOTE, "platform kernel was 5 and is 6"),
        (Severity.NOTE, "variables SLURM_JOB_ID was 1 and is 2"),
    ]
    assert differences(before, before) == []


def test_many_changed_packages_are_one_text():
    names = [f"package{number}" for number in range(7)]
    before, after = (Environment(packages=dict.fromkeys(names, f"{n} sha256:{n}")) for n in (1, 2))
    ((members, text),) = grouped(differences(before, after))
    assert {one.severity for one in members} == {Severity.MAJOR}
    assert text.startswith("7 packages differ: package0 1 -> 2, package1 1 -> 2, ")
    assert text.endswith("package4 1 -> 2, and 2 more")
    rebuilt = Environment(packages={"a": "1 sha256:x", "b": "1"})
    found = differences(rebuilt, Environment(packages={"a": "1 sha256:y"}))
    assert [text for _, text in grouped(found)] == ["2 packages differ: a 1 sha256:x -> 1 sha256:y, b 1 -> none"]


def test_two_names_of_one_interpreter_are_no_difference():
    names = ({"executable": "/v/bin/python"}, {"executable": "/v/bin/python3"})
    same = [Environment(interpreter={"file": "/usr/bin/python3.11", **name}) for name in names]
    assert differences(*same) == []
    unknown = [Environment(interpreter=name) for name in names]
    assert [one.what for one in differences(*unknown)] == ["interpreter executable"]


def test_another_model_of_gpu_matters_and_another_device_is_a_note():
    before = Environment(gpus={"model 0": "A100", "device 0": "GPU-a", "driver": "1"})
    after = Environment(gpus={"model 0": "H100", "device 0": "GPU-b", "driver": "2"})
    severities = {one.what: one.severity for one in differences(before, after)}
    assert severities == {
        "gpus model 0": Severity.MAJOR,
        "gpus device 0": Severity.NOTE,
        "gpus driver": Severity.MINOR,
    }
