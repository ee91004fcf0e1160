"""The programs that other processes start."""

from __future__ import annotations

import importlib.util

import pytest

from hpcorch.model import programs


@pytest.mark.parametrize("name", [name for name in vars(programs) if name.isupper()])
def test_each_program_that_other_processes_start_is_there(name: str) -> None:
    module = getattr(programs, name)
    package = importlib.util.find_spec(module)
    assert package is not None
    if package.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None
