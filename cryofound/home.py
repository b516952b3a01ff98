"""The folder in which stores, models, runs and downloads are kept."""

import os
from pathlib import Path


def default_home() -> Path:
    """$CRYOFOUND_HOME, else ~/.local/share/cryofound."""
    return Path(os.environ.get("CRYOFOUND_HOME") or Path.home() / ".local/share/cryofound").resolve()
