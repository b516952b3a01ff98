"""Checksums of files that were read before: a file of the same size and time is not read again to know its checksum."""

import json
import os
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryofound.manifest import PARTIAL, file_sha256

SETTLED = 2.0  # seconds; a file younger than that may yet change without changing its time


class FileChecksums:
    """sha256 of files, remembered in a JSON file by path, size and time of last change."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._known: dict[str, list[int | str]] = json.loads(self.path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            self._known = {}

    def of(self, paths: Iterable[Path], threads: int | None = None) -> dict[Path, str]:
        """Hex digest of each file; those not known are read, several at once, and remembered."""
        wanted = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            found = dict(zip(wanted, pool.map(self._digest, wanted), strict=True))
        self._save()
        return found

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        key, facts = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(key)
        if known is not None and known[:2] == facts:
            return str(known[2])
        digest = file_sha256(path)
        if time.time() - stat.st_mtime > SETTLED:
            self._known[key] = [*facts, digest]
        return digest

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}{PARTIAL}")
        aside.write_text(json.dumps(self._known))
        os.replace(aside, self.path)
