"""Remembered checksums are those of the files as they are."""

import hashlib
import os
import time
from pathlib import Path

from cryofound.ensemble.checksums import FileChecksums


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_again_only_if_size_or_time_has_changed(tmp_path: Path) -> None:
    old, young = tmp_path / "old", tmp_path / "young"
    old.write_bytes(b"one")
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    young.write_bytes(b"one")
    known = tmp_path / "known.json"
    assert set(FileChecksums(known).of([old, young]).values()) == {sha256(b"one")}
    # Same size, same time: known. What was just written may change within the clock's tick, and is read.
    for path in (old, young):
        stat = path.stat()
        path.write_bytes(b"two")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FileChecksums(known).of([old, young]) == {old: sha256(b"one"), young: sha256(b"two")}
    old.write_bytes(b"three")
    assert FileChecksums(known).of([old]) == {old: sha256(b"three")}
    known.write_text("{")
    assert FileChecksums(known).of([old]) == {old: sha256(b"three")}
