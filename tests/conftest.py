"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.tiny_boltz"]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working copy."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The folder shared/data (CRYOFOUND_SHARED names the shared folder, else ../shared), or a skip."""
    shared = Path(os.environ.get("CRYOFOUND_SHARED", repository.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no shared data at {shared / 'data'}; set CRYOFOUND_SHARED to the shared folder")
    return shared / "data"
