"""A thousand values that careless quoting would change, as parameters of a sweep."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile_values import HOSTILE_TEXTS

APP = """
import os, pathlib
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    number = hydra.core.hydra_config.HydraConfig.get().job.num
    pathlib.Path(f"seen-{number}").write_bytes(b"".join(os.fsencode(value) + b"\\0" for value in cfg.part))

main()
"""
RUNS = 8


def quoted(value: str) -> str:
    """A value as Hydra's grammar wants it: nothing in it is resolved, and backslashes count before quotes only."""
    if "${" in value:
        value = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    doubled = re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{doubled}'"


@pytest.mark.programs
def test_a_thousand_hostile_parameter_values_reach_the_tasks_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    parts = [HOSTILE_TEXTS[number::RUNS] for number in range(RUNS)]
    swept = ",".join(f"[{','.join(map(quoted, part))}]" for part in parts)
    done = subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/launcher=hpcorch_local", f"+part={swept}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = [(tmp_path / f"seen-{number}").read_bytes() for number in range(RUNS)]
    assert seen == [b"".join(value.encode() + b"\0" for value in part) for part in parts]
    assert sum(content.count(b"\0") for content in seen) == 1000
    assert not list(tmp_path.rglob("gone"))
