"""The files that an ingest of an entry reads, and where they lie."""

from collections.abc import Iterator
from pathlib import Path

from cryofound.catalog.entry import CatalogEntry, MapState, StateEntry, StructureState, TrajectoryState
from cryofound.catalog.loading import source_file
from cryofound.catalog.sources import is_changeable
from cryofound.reference.alphafold import read_structure_file
from cryofound.reference.boltz import is_boltz


def input_files(entry: CatalogEntry) -> list[tuple[str, str | None]]:
    """(source, file) of every file that an ingest of the entry reads, once each."""
    named = [(entry.reference.source, entry.reference.file)]
    for state in entry.states:
        named += state_files(entry, state)
    return list(dict.fromkeys(named))


def state_files(entry: CatalogEntry, state: StateEntry) -> list[tuple[str, str | None]]:
    """(source, file) of every file that is read for one state."""
    match state:
        case MapState():
            more = [place for place in (state.mask or entry.mask, state.fitted_model) if place]
            return [(state.source, state.file), *((place.source, place.file) for place in more)]
        case TrajectoryState():
            return [(state.source, state.file), (state.source, state.topology)]
        case StructureState():
            return [(state.source, state.file)]
        case _:
            return []


def file_label(source: str, file: str | None) -> str:
    """What provenance calls a file."""
    return f"{source}:{file or ''}"


def changeable_files(entry: CatalogEntry, cache: Path) -> dict[str, Path]:
    """By label, those files of an entry that its text does not pin down: a mirror's and a local folder's."""
    files = {
        file_label(*place): source_file(entry, *place, cache)
        for place in input_files(entry)
        if is_changeable(entry.sources[place[0]])
    }
    if is_changeable(entry.sources[entry.reference.source]):
        for path in companion_files(entry, cache):
            folder = Path(entry.reference.file or "").parent
            files[file_label(entry.reference.source, (folder / path.name).as_posix())] = path
    return files


def companion_files(entry: CatalogEntry, cache: Path) -> Iterator[Path]:
    """The other files of the prediction that the reference is of."""
    if entry.reference.method in (None, "experiment"):
        return
    path = reference_path(entry, cache)
    if is_boltz(path.parent):
        yield from sorted(each for each in path.parent.iterdir() if each.is_file() and each != path)
    elif entry.reference.method == "alphafold":
        prediction = read_structure_file(path)
        yield from (prediction.folder / name for name in prediction.files if name != path.name)


def reference_path(entry: CatalogEntry, cache: Path) -> Path:
    """Where the reference's file lies on this machine."""
    return source_file(entry, entry.reference.source, entry.reference.file, cache)
