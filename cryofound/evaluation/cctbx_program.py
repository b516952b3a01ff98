"""Programs that use cctbx, each run in a process of its own: cctbx crashes where torch or gemmi was imported before."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryofound.errors import StructureError


def run_program(program: str, arguments: Sequence[object], task: str) -> Any:
    """Run `program` (a file beside this one) with the arguments and one more, a file it answers to in JSON.

    It gets one thread, as callers run several at once. Raises StructureError, `task` first in its line, if cctbx is not
    installed or the program fails.
    """
    if importlib.util.find_spec("mmtbx") is None:
        raise StructureError(f"{task}: cctbx is not installed; pip install cctbx-base")
    with tempfile.TemporaryDirectory(prefix="cryofound-cctbx-") as folder:
        answer = Path(folder) / "answer.json"
        path = Path(__file__).with_name(program)
        command = [sys.executable, "-P", str(path), *map(str, arguments), str(answer)]
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        if finished.returncode:
            # What went wrong begins at the margin; cctbx at times explains it in indented lines.
            reason = [line for line in finished.stderr.splitlines() if line[:1].strip()] or ["no message"]
            raise StructureError(f"{task} failed with exit code {finished.returncode}: {reason[-1]}")
        return json.loads(answer.read_text())
