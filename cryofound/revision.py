"""Which code made a result: the revision and the environment that manifests and runs are marked with."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def git_revision(folder: Path) -> str:
    """The commit of a working copy, `+changes` if it differs from it; CRYOFOUND_REVISION where .git did not travel."""
    told = os.environ.get("CRYOFOUND_REVISION")
    if told:
        return told
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def environment() -> dict[str, str]:
    """The versions that results may depend on, and the host: tag to text."""
    import torch  # takes seconds, which no one who asks for the revision alone should pay

    libraries = {name: version(name) for name in ("torch", "deepspeed", "ray", "numpy")}
    return {
        "python": platform.python_version(),
        **libraries,
        "cuda": torch.version.cuda or "none",
        "host": platform.node(),
    }
