"""What is wrong with an entry, what it still lacks and which of its files are not here: headers only, no download."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryofound.catalog.entry import CatalogEntry, LocalSource, MapState, SourceFile
from cryofound.catalog.sources import found_file, place_in
from cryofound.catalog.survey import grid_difference
from cryofound.errors import CryoFoundError, SourceError
from cryofound.manifest import file_sha256
from cryofound.maps.density_map import Grid
from cryofound.maps.header import read_header


@dataclass(frozen=True)
class Finding:
    """`wrong`: it cannot be ingested; `missing`: a file that the user must bring; `open`: a fact still to fill in."""

    kind: Literal["wrong", "missing", "open"]
    text: str


def check_entry(
    entry: CatalogEntry, cache: Path, mirror: Mapping[str, Path] | None = None, *, checksums: bool = False
) -> list[Finding]:
    """All findings of an entry, each one sentence without the entry's id.

    Files are looked for in local folders, in `mirror` (a `mirror_index`) and in `cache`; what could be downloaded is
    not missed. Maps are known by their headers; with `checksums` every file that has one in the entry is read.
    """
    findings, places = [], {}
    for file in dict.fromkeys(entry.files()):
        source = entry.sources[file.source]
        place = found_file(source, file.file, cache, mirror)
        places[file.source, file.file] = place
        if place is None and isinstance(source, LocalSource):
            findings.append(_missing(source, file))
        elif place is not None and checksums and file.sha256 and file_sha256(place) != file.sha256:
            findings.append(
                Finding("wrong", f"{place}: sha256 is not {file.sha256[:12]}..., as the entry says; was it changed?")
            )
    findings += _grids(entry, places)
    return findings + _open(entry)


def _missing(source: LocalSource, file: SourceFile) -> Finding:
    try:
        place_in(source, file.file)
    except SourceError as error:
        return Finding("missing", str(error))
    raise AssertionError("found_file and place_in look for the same file")


def _grids(entry: CatalogEntry, places: Mapping[tuple[str, str | None], Path | None]) -> list[Finding]:
    """Headers that cannot be read, and maps that are not on the grid of the first one of their series."""
    findings: list[Finding] = []
    first: tuple[Grid, Path] | None = None
    for state in entry.states:
        if not isinstance(state, MapState):
            continue
        for number, file in enumerate((state, *(state.half_maps or ()))):
            path = places.get((file.source, file.file))
            if path is None:
                continue
            try:
                grid = read_header(path).grid
            except CryoFoundError as error:
                findings.append(Finding("wrong", str(error)))
                continue
            # Separate depositions are placed each by its own header; a series has one grid, and half maps their map's.
            if number == 0 and (first is None or _deposited(entry)):
                first = grid, path
            told = first and grid_difference(first[0], grid)
            if first and told:
                findings.append(Finding("wrong", f"{path}: {told} of {first[1].name}"))
    return findings


def _deposited(entry: CatalogEntry) -> bool:
    return entry.series is not None and entry.series.program == "emdb"


def _open(entry: CatalogEntry) -> list[Finding]:
    told = [f"{name}: not given" for name in ("citation", "licence") if getattr(entry, name) is None]
    assumed = [
        state.state_id for state in entry.states if isinstance(state, MapState) and state.resolution_from == "assumed"
    ]
    if assumed:
        told.append(f"resolution of {assumed[0]}{' and others' if len(assumed) > 1 else ''}: only assumed")
    silent = [name for group in entry.chains if group.sequence is None for name in group.names]
    if silent:
        told.append(f"sequence of chain {', '.join(silent)}: not given")
    return [Finding("open", text) for text in told]
