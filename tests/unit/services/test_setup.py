"""What init finds in a project, and what it makes of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from hpcorch.resources.profile.file import parse_profile
from hpcorch.services.setup.config import LOCAL, SLURM, config_of, example_config
from hpcorch.services.setup.ignore import LINES, add_lines, missing_lines
from hpcorch.services.setup.program import Program, find_program
from tests.support.paths import REPOSITORY

TEMPLATES = sorted((REPOSITORY / "scripts" / "templates").iterdir())

APP = """\
import hydra

@hydra.main({arguments})
def main(cfg):
    pass
"""


def app(arguments: str) -> str:
    return APP.format(arguments=arguments)


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        ('version_base="1.3", config_path="conf", config_name="config"', "conf/config.yaml"),
        ('config_path="../conf", config_name="train.yaml"', "../conf/train.yaml"),
        ('"conf", "base"', "conf/base.yaml"),
        ('config_path=".", config_name="config"', "config.yaml"),
    ],
)
def test_the_configuration_that_a_program_names_is_found(tmp_path, arguments, config):
    write(tmp_path, {"scripts/go.py": app(arguments)})
    program = find_program(tmp_path)
    assert program == Program(
        path=tmp_path / "scripts/go.py", by_hydra=True, config=(tmp_path / "scripts" / config).resolve()
    )


@pytest.mark.parametrize(
    ("arguments", "in_code"),
    [
        ("version_base=None", False),
        ("config_path=None", False),
        ('config_path=None, config_name="config"', True),
        ("config_path=CONF, config_name=NAME", True),
        ('config_path="pkg://project.conf", config_name="config"', True),
        ("**options", True),
    ],
)
def test_a_configuration_that_is_in_no_file_is_known_to_be(tmp_path, arguments, in_code):
    write(tmp_path, {"go.py": app(arguments)})
    program = find_program(tmp_path)
    assert program is not None
    assert (program.by_hydra, program.config, program.in_code) == (True, None, in_code)


def test_the_likeliest_program_is_taken(tmp_path):
    hydras = app('config_path="conf", config_name="config"')
    write(
        tmp_path,
        {
            "train.py": "import argparse\n",
            "eval.py": hydras,
            "src/project/main.py": hydras,
            "scripts/train.py": hydras,
            "broken.py": "import hydra\ndef (",
            "binary.py": "hydra\0",
            "tests/train.py": hydras,
            ".venv/lib/train.py": hydras,
            "env/pyvenv.cfg": "",
            "env/lib/train.py": hydras,
        },
    )
    found = find_program(tmp_path)
    assert found is not None
    assert found.path == tmp_path / "scripts/train.py"


def test_a_program_without_hydra_is_better_than_none(tmp_path):
    assert find_program(tmp_path) is None
    write(tmp_path, {"helpers.py": "", "train.py": "import argparse\n"})
    assert find_program(tmp_path) == Program(path=tmp_path / "train.py")


@pytest.mark.parametrize(
    ("files", "config", "needed"),
    [
        ({}, "conf/config.yaml", True),
        ({"train.py": ""}, "conf/config.yaml", True),
        ({"configs/base.yaml": ""}, "configs/base.yaml", False),
        ({"train.py": app('config_path="conf", config_name="main"')}, "conf/main.yaml", True),
        (
            {"train.py": app('config_path="conf", config_name="main"'), "conf/main.yaml": ""},
            "conf/main.yaml",
            False,
        ),
        ({"train.py": app('config_path="../elsewhere", config_name="main"')}, "../elsewhere/main.yaml", False),
        ({"train.py": app("config_path=CONF, config_name=NAME")}, "conf/config.yaml", False),
    ],
)
def test_an_example_is_needed_only_where_there_is_no_configuration(tmp_path, files, config, needed):
    write(tmp_path, files)
    path, reason = config_of(tmp_path, find_program(tmp_path))
    assert (path, reason is None) == ((tmp_path / config).resolve(), needed)


def test_the_example_names_what_the_profile_has():
    profile = parse_profile(
        "resources:\n  scratch: {capacity: 4, enforced: license}\n"
        "  gpu: {kind: gpu, capacity: 8, enforced: system}\n"
        "pools:\n  fast: {partition: a}\n  slow: {partition: b}\n",
        "site.yaml",
    )
    text = example_config(Path("/p/conf/config.yaml"), None, profile, launcher=SLURM)
    uncommented = text.replace("    # ", "    ")
    launcher = yaml.safe_load(uncommented)["hydra"]["launcher"]
    assert (launcher["gpus_per_node"], launcher["pool"], launcher["resources"]) == (1, "fast", {"scratch": 1})
    assert yaml.safe_load(text)["hydra"] == {"launcher": {"timeout_min": 60}}
    here = yaml.safe_load(example_config(Path("/p/conf/config.yaml"), None, profile, launcher=LOCAL))
    assert here["defaults"] == ["_self_", {"override hydra/launcher": LOCAL}]


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("", LINES),
        (".hpcorch/\n", ("multirun/", "outputs/", "slurm-*.out")),
        ("/.hpcorch\nmultirun\n**/outputs/\n", ("slurm-*.out",)),
        ("# outputs/\n*.pyc\n", LINES),
        ("\n".join(LINES), ()),
    ],
)
def test_lines_that_git_has_in_any_spelling_are_not_repeated(there, missing):
    assert missing_lines(there) == list(missing)


@pytest.mark.parametrize("old", [b"", b"*.pyc\n", b"*.pyc", b"*.pyc\r\n", b"\xff\n"])
def test_lines_are_appended_once_and_what_was_there_stays(tmp_path, old):
    path = tmp_path / ".gitignore"
    path.write_bytes(old)
    path.chmod(0o640)
    assert add_lines(path) == list(LINES)
    new = path.read_bytes()
    assert new.startswith(old)
    assert (b"\r\n" in new) == (b"\r\n" in old)
    assert path.stat().st_mode & 0o777 == 0o640
    assert add_lines(path) == []
    assert path.read_bytes() == new


def test_git_leaves_out_what_hpcorch_writes_and_keeps_the_profile(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    add_lines(tmp_path / ".gitignore")
    write(
        tmp_path,
        dict.fromkeys((".hpcorch/ledger.db", ".hpcorch/site.yaml", "multirun/1/x", "outputs/x", "slurm-3.out"), ""),
    )
    shown = subprocess.run(
        ["git", "status", "--short", "-uall"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert shown.stdout.split() == ["??", ".gitignore", "??", ".hpcorch/site.yaml"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_git_leaves_out_what_the_templates_write(tmp_path, template):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    add_lines(tmp_path / ".gitignore")
    text = template.read_text()
    logs = re.findall(r"^#SBATCH --(?:output|error)=(\S+)", text, re.MULTILINE)
    results = re.findall(r"^export RESULT=(\S+)", text, re.MULTILINE)
    folders = [f"{folder}/x" for folder in re.findall(r"^mkdir -p (\S+)", text, re.MULTILINE)]
    assert results
    written = [
        re.sub(r"%\w|\$\{?\w+\}?", "1", name) for name in (*(logs or ["slurm-%A_%a.out"]), *results, *folders)
    ]
    ignored = subprocess.run(
        ["git", "check-ignore", *written], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert ignored.stdout.splitlines() == written
