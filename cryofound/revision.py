"""Which code made a result: the revision that manifests and runs are marked with."""

import os
import subprocess
from pathlib import Path


def git_revision(folder: Path) -> str:
    """The commit of a working copy, `+changes` if it differs from it; CRYOFOUND_REVISION where .git did not travel."""
    told = os.environ.get("CRYOFOUND_REVISION")
    if told:
        return told
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
