"""What a store holds of the catalog: which systems, from which entry and which files, and what has changed since."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofound.catalog.entry import CatalogEntry, SourceFile
from cryofound.catalog.sources import found_file
from cryofound.errors import StoreError
from cryofound.manifest import file_sha256, is_finished

SYSTEMS = "systems"
ATTRIBUTES = "zarr.json"


@dataclass(frozen=True)
class Ingested:
    """One system in a store: the entry as it was then, and the sha256 of each input by `source:file`."""

    system_id: str
    store: Path
    states: int
    entry: Mapping[str, Any]
    inputs: Mapping[str, str]


def ingested_in(store: Path) -> Iterator[Ingested]:
    """Every finished system of a store, finished itself or not, by id; raises StoreError for a damaged one."""
    for folder in sorted((Path(store) / SYSTEMS).glob("*")):
        if not folder.is_dir() or not is_finished(folder):
            continue
        try:
            # The attributes of a Zarr 3 group are plain JSON; opening each group would take a hundred times as long.
            facts = json.loads((folder / ATTRIBUTES).read_text())["attributes"]
            told = facts["provenance"]
            yield Ingested(facts["system_id"], Path(store), len(facts["states"]), told["entry"], told["sha256"])
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{folder}: damaged ({error!r}); run `cryofound store check`, or delete it") from None


def changes(
    entry: CatalogEntry,
    ingested: Ingested,
    cache: Path,
    mirror: Mapping[str, Path] | None = None,
    *,
    checksums: bool = False,
) -> list[str]:
    """What is not as it was when the system was ingested; with `checksums` its files are read as well."""
    now = entry.model_dump(mode="json")
    differing = sorted(key for key in {*now, *ingested.entry} if now.get(key) != ingested.entry.get(key))
    told = [f"entry changed in {', '.join(differing)}"] if differing else []
    for file in dict.fromkeys(entry.files()) if checksums else ():
        before = ingested.inputs.get(f"{file.source}:{file.file or ''}")
        place = _place(entry, file, cache, mirror)
        if before and place and file_sha256(place) != before:
            told.append(f"{place.name} changed")
    return told


def _place(entry: CatalogEntry, file: SourceFile, cache: Path, mirror: Mapping[str, Path] | None) -> Path | None:
    return found_file(entry.sources[file.source], file.file, cache, mirror)
