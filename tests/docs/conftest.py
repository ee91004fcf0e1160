"""A project for the examples of the documentation."""

from __future__ import annotations

import pytest

from tests.docs.pages import Project


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)
