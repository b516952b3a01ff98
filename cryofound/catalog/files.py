"""Catalogs on disk: folders of entries, one YAML file each, found by id, written whole, removed."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from cryofound.catalog.entry import CatalogEntry, LocalSource, load_entry
from cryofound.disk import make_parent
from cryofound.errors import CryoFoundError, RecipeError

DEFAULT_CATALOG = Path("configs/catalog")


def entry_files(catalog: Path) -> list[Path]:
    """Every YAML file of a catalog folder and those below it, or the one file that `catalog` is, sorted.

    Raises RecipeError if there is none.
    """
    catalog = Path(catalog)
    paths = [catalog] if catalog.is_file() else sorted(catalog.rglob("*.yaml"))
    if not paths:
        raise RecipeError(f"{catalog}: holds no catalog entry (*.yaml); add one with `cryofound catalog add`")
    return paths


def read_entries(catalog: Path) -> Iterator[tuple[Path, CatalogEntry | CryoFoundError]]:
    """Each file of a catalog with its entry, or with the error that it raises."""
    for path in entry_files(catalog):
        try:
            yield path, load_entry(path)
        except CryoFoundError as error:
            yield path, error


def find_entries(catalog: Path, names: Sequence[str] = ()) -> list[tuple[Path, CatalogEntry]]:
    """The entries whose system_id, accession or path is among `names`, all without names; errors are raised.

    Raises RecipeError for a name that no entry has, with those that are most like it.
    """
    direct = [Path(name) for name in names if name.endswith(".yaml")]
    if names and len(direct) == len(names):
        return [(path, load_entry(path)) for path in direct]
    found: list[tuple[Path, CatalogEntry]] = []
    for path, entry in read_entries(catalog):
        if isinstance(entry, CryoFoundError):
            if not names:
                raise entry
            continue
        found.append((path, entry))
    if not names:
        return found
    chosen = {path: (path, entry) for path, entry in found for name in names if _answers_to(entry, path, name)}
    for name in names:
        if not any(_answers_to(entry, path, name) for path, entry in chosen.values()):
            known = [entry.system_id for _, entry in found]
            like = difflib.get_close_matches(name, known, 3, 0.5) or sorted(known)[:3]
            raise RecipeError(f"{name}: no such entry in {catalog}; it has {', '.join(like)} ({len(known)} in all)")
    return list(chosen.values())


def writable(path: Path, *, force: bool = False) -> None:
    """Raise RecipeError if an entry's file is there already (unless `force`), StoreError if it cannot be written."""
    if path.exists() and not force:
        raise RecipeError(f"{path}: is there already; give --force to replace it, or --system-id for another")
    make_parent(path)


def write_entry(path: Path, entry: CatalogEntry, *, force: bool = False) -> None:
    """Write an entry as YAML; the file appears whole or not at all.

    Local folders beside or below the file are written relative to it. Raises RecipeError as `writable` does.
    """
    writable(path, force=force)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(entry_text(_relative(entry, path.resolve().parent)))
    os.replace(aside, path)


def entry_text(entry: CatalogEntry) -> str:
    """The entry as YAML: its schema version and the fields that were given."""
    content = {"schema_version": entry.schema_version, **entry.model_dump(mode="json", exclude_unset=True)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def clashes(entries: Sequence[tuple[Path, CatalogEntry]]) -> list[str]:
    """One sentence for each system_id that two files have, and for each family with two anchors."""
    files: dict[str, Path] = {}
    anchors: dict[str, str] = {}
    told = []
    for path, entry in entries:
        if entry.system_id in files:
            told.append(f"{path}: system_id {entry.system_id} is already that of {files[entry.system_id]}; rename one")
        files.setdefault(entry.system_id, path)
        if entry.anchor and entry.family in anchors:
            told.append(f"{path}: {entry.system_id} and {anchors[entry.family]} are both anchor of {entry.family}")
        if entry.anchor:
            anchors.setdefault(entry.family, entry.system_id)
    return told


def picture_of(path: Path) -> Path:
    """Where the picture of an entry's maps lies."""
    return path.with_suffix(".png")


def _answers_to(entry: CatalogEntry, path: Path, name: str) -> bool:
    ids = (*entry.accessions.empiar, *entry.accessions.emdb, *entry.accessions.pdb)
    return name in (entry.system_id, str(path)) or name in ids


def _relative(entry: CatalogEntry, here: Path) -> CatalogEntry:
    sources = {
        name: source.model_copy(update={"folder": Path(source.folder).relative_to(here).as_posix()})
        if isinstance(source, LocalSource) and Path(source.folder).is_relative_to(here)
        else source
        for name, source in entry.sources.items()
    }
    return entry.model_copy(update={"sources": sources})
