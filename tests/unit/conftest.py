"""What tests of several packages share, made once: it takes seconds."""

from pathlib import Path

import pytest

# The makers are imported where they are used: most tests need no networks.


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished home with no model registered; not to be changed."""
    from tests.made_models import made_home

    return made_home(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def registry_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose MLflow has two versions of `hinges`, from its folder `model`, and one of `old`, without members.

    Version 1 of hinges has the alias production; tests may set others.
    """
    from tests.made_models import register_two

    return register_two(trained_home, tmp_path_factory.mktemp("registry"))
