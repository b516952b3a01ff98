"""A new entry from what a user has: maps, a reference and its sequences, all checked against each other."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryofound.catalog.archives import ARCHIVE_ID, EmdbFacts
from cryofound.catalog.docking import Docking, docking
from cryofound.catalog.entry import CatalogEntry, SystemFacts
from cryofound.catalog.series import Series
from cryofound.catalog.stoichiometry import chain_groups, symmetry_doubts
from cryofound.catalog.survey import MapSurvey, common_grid, survey
from cryofound.config import validated
from cryofound.errors import MapError, RecipeError
from cryofound.manifest import file_sha256
from cryofound.maps.density_map import Grid
from cryofound.maps.mrc import read_map
from cryofound.maps.shells import half_map_resolution
from cryofound.structure.atomic_model import AtomicModel

NYQUIST = 2.0
MAPS, REFERENCE, HALF_MAPS, MASK = "maps", "reference", "half_maps", "mask"


@dataclass(frozen=True)
class GivenReference:
    """The structure file of a reference, its protein chains by name, what made it, and its PDB id if it has one."""

    path: Path
    chains: Mapping[str, AtomicModel]
    method: str | None = None
    made: str | None = None
    pdb_id: str | None = None


@dataclass(frozen=True)
class Companions:
    """What may come with the maps: a mask for all of them, and the half maps of the only one."""

    mask: Path | None = None
    half_maps: tuple[Path, Path] | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return (*(self.half_maps or ()), *([self.mask] if self.mask else []))


NONE = Companions()


@dataclass(frozen=True)
class Draft:
    """A checked entry, what its maps are like, where its reference lies, and what the user should know."""

    entry: CatalogEntry
    grid: Grid
    surveys: tuple[MapSurvey, ...]
    docking: Docking
    notes: tuple[str, ...]


def parse_id(text: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """(system_id, accessions) of EMPIAR-10400, EMD-40226 or a name of one's own.

    Raises RecipeError for what looks like an archive's id and is none.
    """
    found = ARCHIVE_ID.fullmatch(text)
    if found:
        return text, {"empiar" if found[1] else "emdb": (text,)}
    # EMP1 and EMD are genes; only what ends like an archive's number was meant for one.
    if re.match(r"EMPIAR|EM(P[A-Z]*|DB?)[-_ ]?\d{3,}$", text, re.IGNORECASE):
        raise RecipeError(f"{text}: is no id of EMPIAR (EMPIAR-10400) or EMDB (EMD-40226); correct it")
    if not re.fullmatch(r"[A-Za-z0-9]+([-_][A-Za-z0-9]+)*", text):
        raise RecipeError(f"{text}: is no name; use EMPIAR-10400, EMD-40226, or letters, digits, single - and _")
    return text, {}


def draft_entry(
    series: Series,
    reference: GivenReference,
    sequences: Mapping[str, str],
    facts: Mapping[str, Any],
    *,
    companions: Companions = NONE,
    resolution: float | None = None,
    emdb: EmdbFacts | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Draft:
    """Check maps, reference and sequences and put the entry together.

    `facts` are the other fields of the entry (system_id, family, split, symmetry, ...). `resolution` (angstrom) is of
    all maps for which the series states none; without it that of the half maps is estimated (correlation 0.143), or
    else twice the voxel size is assumed, and said so. `emdb` is what the archive says of the one map of the series,
    where that is where it came from. Raises a CryoFoundError with one line: maps of different grids, NaN, a sequence
    that the reference does not have.
    """
    where = str(facts.get("system_id"))
    facts = validated(_without_nulls(facts), SystemFacts, where).model_dump(exclude_defaults=True)
    if companions.half_maps and len(series.states) > 1:
        raise MapError(
            f"half maps belong to one map, this series has {len(series.states)}; add them to the entry's states"
        )
    grid = common_grid([*(state.path for state in series.states), *companions.paths])
    groups = chain_groups(reference.chains, sequences, str(reference.path))
    surveys: list[MapSurvey] = []
    met: Docking | None = None
    for state in series.states:
        progress(state.state_id)
        found, density = survey(state.path)
        surveys.append(found)
        met = met or docking(density, _ca_xyz(reference.chains))
    assert met is not None  # a series has a map
    twice = _same_content(surveys)
    if twice:
        raise MapError(f"{twice[1]}: holds the same bytes as {twice[0]}; leave one of them out")
    entry = {
        **facts,
        "sources": _sources(series, reference, companions, emdb),
        "mask": companions.mask and _file(MASK, companions.mask),
        "reference": {
            "source": REFERENCE,
            "file": None if reference.pdb_id else reference.path.name,
            "chain": next(iter(reference.chains)) if len(reference.chains) == 1 else None,
            "method": reference.method,
            "made": reference.made,
            "placement": "docked" if met.docked else "undocked",
            "sha256": file_sha256(reference.path),
        },
        "chains": [group.model_dump() for group in groups],
        "series": {"program": series.program, "job": series.job, "component": series.component},
        "states": [_deposited(emdb, surveys[0])] if emdb else _states(series, surveys, companions, resolution, grid),
    }
    checked = validated(_without_nulls(entry), CatalogEntry, where)
    notes = (*series.notes, *_doubts(checked, met, reference), *symmetry_doubts(checked.symmetry, groups))
    return Draft(checked, grid, tuple(surveys), met, notes)


def _states(
    series: Series, surveys: Sequence[MapSurvey], companions: Companions, resolution: float | None, grid: Grid
) -> list[dict[str, Any]]:
    root = _common_folder(series)
    states = []
    for state, found in zip(series.states, surveys, strict=True):
        told = state.resolution or resolution
        origin = "estimated" if series.program == "relion" and state.resolution else "stated"
        if told is None and companions.half_maps:
            told, origin = _half_map_resolution(companions), "estimated"
        states.append(
            {
                "state_id": state.state_id,
                "kind": "map",
                "source": MAPS,
                "file": state.path.resolve().relative_to(root).as_posix(),
                "sha256": found.sha256,
                "population": state.population,
                "resolution": round(told or NYQUIST * grid.voxel_size, 4),
                "resolution_from": origin if told else "assumed",
                "half_maps": companions.half_maps and [_file(HALF_MAPS, half) for half in companions.half_maps],
            }
        )
    return states


def _half_map_resolution(companions: Companions) -> float:
    assert companions.half_maps is not None
    first, second = (read_map(half) for half in companions.half_maps)
    mask = None if companions.mask is None else read_map(companions.mask).values_zyx
    return half_map_resolution(first, second, mask).resolution


def _deposited(emdb: EmdbFacts, found: MapSurvey) -> dict[str, Any]:
    half_maps = [{"source": MAPS, "file": file} for file in emdb.half_maps]
    return {
        "state_id": emdb.id.lower().replace("-", "_"),
        "kind": "map",
        "source": MAPS,
        "file": emdb.map_file,
        "sha256": found.sha256,
        "resolution": emdb.resolution,
        "contour": emdb.contour,
        "half_maps": half_maps if len(half_maps) == 2 else None,
        "mask": {"source": MAPS, "file": emdb.masks[0]} if emdb.masks else None,
    }


def _doubts(entry: CatalogEntry, met: Docking, reference: GivenReference) -> list[str]:
    notes = []
    if any(getattr(state, "resolution_from", None) == "assumed" for state in entry.states):
        notes.append("no resolution is known: twice the voxel size is assumed; give --resolution or --half-maps")
    if not met.docked:
        notes.append(
            f"{reference.path.name} does not lie in the density ({met.inside:.0%} of its CA in the box, density there "
            f"{met.density:.1f} sd): it will be registered before use"
        )
    if not any(group.sequence for group in entry.chains):
        notes.append("no sequences were given: the reference's own are not checked against anything")
    for field in ("citation", "licence"):
        if getattr(entry, field) is None:
            notes.append(f"{field} is not known: fill it in, or add with --look-up")
    return notes


def _sources(
    series: Series, reference: GivenReference, companions: Companions, emdb: EmdbFacts | None
) -> dict[str, Any]:
    sources = {
        MAPS: {"kind": "emdb", "id": emdb.id} if emdb else _folder(_common_folder(series)),
        REFERENCE: {"kind": "pdb", "id": reference.pdb_id} if reference.pdb_id else _folder(reference.path.parent),
    }
    if companions.half_maps:
        folders = {half.resolve().parent for half in companions.half_maps}
        if len(folders) > 1:
            raise MapError(
                f"{companions.half_maps[1]}: is not beside {companions.half_maps[0]}; put both in one folder"
            )
        sources[HALF_MAPS] = _folder(folders.pop())
    if companions.mask:
        sources[MASK] = _folder(companions.mask.parent)
    return sources


def _folder(path: Path) -> dict[str, str]:
    return {"kind": "local", "folder": str(path.resolve())}


def _file(source: str, path: Path) -> dict[str, str]:
    return {"source": source, "file": path.name, "sha256": file_sha256(path)}


def _common_folder(series: Series) -> Path:
    folders = [state.path.resolve().parent for state in series.states]
    shared = folders[0]
    while not all(folder.is_relative_to(shared) for folder in folders):
        shared = shared.parent
    return shared


def _ca_xyz(chains: Mapping[str, AtomicModel]) -> np.ndarray:
    return np.concatenate([model.ca_xyz() for model in chains.values()])


def _same_content(surveys: Sequence[MapSurvey]) -> tuple[Path, Path] | None:
    seen: dict[str, Path] = {}
    for each in surveys:
        if each.sha256 in seen:
            return seen[each.sha256], each.path
        seen[each.sha256] = each.path
    return None


def _without_nulls(content: Any) -> Any:
    """What is not known is left out, so that defaults stand for it."""
    if isinstance(content, Mapping):
        return {key: _without_nulls(value) for key, value in content.items() if value is not None}
    if isinstance(content, list | tuple):
        return [_without_nulls(value) for value in content]
    return content
