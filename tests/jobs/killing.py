"""A thread that kills a process of Ray's at a moment that a checkpoint marks."""

import threading
import time
from pathlib import Path

import psutil

from jobs.training import CHECKPOINTS


class Killer(threading.Thread):
    """Sends SIGKILL to the worker whose title begins with `title` once `folder` has its checkpoint of `step`.

    Looks among the descendants of `ancestor` (this process unless given); `killed` holds its process id.
    """

    def __init__(self, folder: Path, step: int, title: str, ancestor: int | None = None):
        super().__init__(daemon=True)
        self.checkpoint = folder / CHECKPOINTS / f"step-{step:08d}" / "manifest.json"
        self.title, self.ancestor, self.killed = title, ancestor, 0

    def run(self) -> None:
        while not self.checkpoint.exists():
            time.sleep(0.002)
        for process in psutil.Process(self.ancestor).children(recursive=True):
            if " ".join(process.cmdline()).startswith(self.title):
                process.kill()
                self.killed = process.pid
