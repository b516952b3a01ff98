"""The files of an entry on this machine: taken from a folder or a mirror of the archives, or downloaded once."""

import fnmatch
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryofound.catalog.download import download
from cryofound.catalog.locking import locked
from cryofound.catalog.packages import unpacked
from cryofound.catalog.requesting import MIRROR, PATIENT, Patience
from cryofound.catalog.servers import default_file, file_url
from cryofound.catalog.source_schema import EmdbSource, EmpiarSource, LocalSource, PackageSource, PdbSource, Source
from cryofound.errors import SourceError

# Tried in this order; *_final is what PDB-REDO calls its re-refined models. The last are people's own: 6o1p_trpv5.pdb.
MIRROR_NAMES = ("{id}_final.cif", "{id}.cif", "{id}.pdb", "pdb{id}.ent", "{id}_*.cif", "{id}_*.pdb")
ArchiveSource = PdbSource | EmdbSource | EmpiarSource


def fetch(source: PackageSource | PdbSource | LocalSource, cache: Path) -> Path:
    """The folder (package, local) or the file (pdb) of a source, downloaded once into `cache`.

    Several processes may ask for the same source at once. Raises SourceError with one line.
    """
    match source:
        case LocalSource():
            if not Path(source.folder).is_dir():
                raise SourceError(f"{source.folder}: no such folder; correct the folder of the entry's local source")
            return Path(source.folder)
        case PdbSource():
            return fetch_file(source, None, cache)
        case PackageSource():
            return unpacked(source, Path(cache) / "packages")


def fetch_file(
    source: Source,
    file: str | None,
    cache: Path,
    *,
    named: str = "its source",
    sha256: str | None = None,
    patience: Patience = PATIENT,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """One file of a source, downloaded once into `cache`; a file that is null means the whole of a one-file source.

    `named` is what errors call the source. A download is checked against `sha256` where that is given, and tells
    `progress` its bytes so far and in all. Several processes may ask for the same file at once. Raises SourceError with
    one line.
    """
    if isinstance(source, LocalSource):
        return place_in(source, file, named)
    if isinstance(source, PackageSource):
        return _inside(fetch(source, cache), file, "correct the entry's file or the source's members", named)
    name = archive_file(source, file)
    mirror = os.environ.get(MIRROR)
    if mirror:
        return _from_mirror(source, name, Path(mirror))
    target = cached_place(source, name, cache)
    if not target.is_file():
        with locked(target):
            if not target.is_file():
                download(file_url(source, name), target, sha256=sha256, patience=patience, progress=progress)
    return target


def place_in(source: LocalSource, file: str | None, named: str = "its source") -> Path:
    """The file of a local folder; raises SourceError, saying what to bring where the entry tells."""
    way_out = f"bring {source.bring}" if source.bring else "correct the entry's file or the source's members"
    return _inside(Path(source.folder), file, way_out, named)


def found_file(source: Source, file: str | None, cache: Path, mirror: Mapping[str, Path] | None = None) -> Path | None:
    """The file if it is on this machine already, else None: nothing is downloaded or unpacked.

    `mirror` is the `mirror_index` of $CRYOFOUND_MIRROR, where that is set.
    """
    if isinstance(source, LocalSource):
        matches = _matches(Path(source.folder), file) if file else []
        return matches[0] if len(matches) == 1 else None
    if isinstance(source, PackageSource):
        return None
    name = archive_file(source, file)
    if mirror is not None:
        return _in_index(mirror, _mirror_names(source, name))
    target = cached_place(source, name, cache)
    return target if target.is_file() else None


def archive_file(source: ArchiveSource, file: str | None) -> str:
    """The path of a file in its archive; raises SourceError where the entry must name one, or must not."""
    if isinstance(source, PdbSource):
        if file is not None:
            raise SourceError(f"{source.id}: a PDB source is one file; leave out file: {file}")
        return default_file(source)
    if file is None and isinstance(source, EmpiarSource):
        raise SourceError(f"{source.id}: an EMPIAR entry has many files; name one by its path below data/")
    name = file or default_file(source)  # type: ignore[arg-type]  # an EMPIAR source without file has just been refused
    if name.startswith("/") or ".." in name.split("/"):
        raise SourceError(f"{source.id}: file {name} points out of the archive's entry; correct it")
    return name


def cached_place(source: ArchiveSource, name: str, cache: Path) -> Path:
    """Where a file of an archive is kept once it is downloaded."""
    if isinstance(source, PdbSource):
        return Path(cache) / "pdb" / name
    return Path(cache) / source.kind / source.id / name


def is_changeable(source: Source) -> bool:
    """Whether the same entry may find another file tomorrow: in a local folder and in a mirror."""
    return isinstance(source, LocalSource) or (not isinstance(source, PackageSource) and bool(os.environ.get(MIRROR)))


def mirror_index() -> dict[str, Path] | None:
    """Every file of $CRYOFOUND_MIRROR by its name in small letters, the first by path; None if it is not set."""
    mirror = os.environ.get(MIRROR)
    return _index(Path(mirror)) if mirror else None


def _index(mirror: Path) -> dict[str, Path]:
    if not mirror.is_dir():
        raise SourceError(
            f"{mirror}: no such folder; set {MIRROR} to a folder of the archives' files, or unset it to download"
        )
    index: dict[str, Path] = {}
    for path in sorted(mirror.rglob("*")):
        if path.is_file():
            index.setdefault(path.name.lower(), path)
    return index


def _from_mirror(source: ArchiveSource, name: str, mirror: Path) -> Path:
    index, wanted = _index(mirror), _mirror_names(source, name)
    found = _in_index(index, wanted)
    if found is not None:
        return found
    listed = ", ".join(wanted[:5:2] if isinstance(source, PdbSource) else wanted[:1])
    raise SourceError(
        f"{mirror}: holds no file for {source.id} (looked for {listed}, also .gz); "
        f"add it, or unset {MIRROR} to download it"
    )


def _in_index(index: Mapping[str, Path], wanted: Sequence[str]) -> Path | None:
    """The file that has the first of the names, or matches the first pattern, that there is one for."""
    for each in wanted:
        matches = sorted(fnmatch.filter(index, each)) if "*" in each else [each] if each in index else []
        if matches:
            return index[matches[0]]
    return None


def _mirror_names(source: ArchiveSource, name: str) -> Sequence[str]:
    """Names in small letters that a file of an archive may have in a mirror, the best first."""
    if isinstance(source, PdbSource):
        return [pattern.format(id=source.id.lower()) + end for pattern in MIRROR_NAMES for end in ("", ".gz")]
    last = name.lower().rpartition("/")[2]
    return [last, last.removesuffix(".gz")] if last.endswith(".gz") else [last, last + ".gz"]


def _inside(place: Path, file: str | None, way_out: str, named: str) -> Path:
    if file is None:
        raise SourceError(f"{place}: {named} is a folder; name a file in it")
    matches = _matches(place, file)
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(path.name for path in matches[:3])
        raise SourceError(f"{place}: {file} matches {len(matches)} files ({names}, ...); name one of them")
    raise SourceError(f"{place / file}: not in {named}; {way_out}")


def _matches(folder: Path, file: str) -> list[Path]:
    """The file of that very name, else the files that it matches as a shell pattern, sorted."""
    if (folder / file).is_file():
        return [folder / file]
    if not any(letter in file for letter in "*?"):
        return []
    return sorted(path for path in folder.glob(file) if path.is_file())
