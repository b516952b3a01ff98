"""What tests of several packages share, made once: it takes seconds."""

from pathlib import Path

import pytest

from tests.made_models import made_home


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished home with no model registered; not to be changed."""
    return made_home(tmp_path_factory.mktemp("trained"))
