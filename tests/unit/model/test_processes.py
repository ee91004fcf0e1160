"""The programs that other processes start."""

from __future__ import annotations

import importlib.util

import pytest

from hpcorch.model import processes

_CONSTANTS = [value for name, value in vars(processes).items() if name.isupper()]
PROGRAMS = [value for value in _CONSTANTS if str(value).startswith("hpcorch.")]


@pytest.mark.parametrize("module", PROGRAMS)
def test_each_program_that_other_processes_start_is_there(module: str) -> None:
    package = importlib.util.find_spec(module)
    assert package is not None
    if package.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None
