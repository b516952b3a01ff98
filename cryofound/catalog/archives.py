"""What EMDB and EMPIAR say of an entry: citation, symmetry, resolution, contour and the names of its files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryofound.catalog.requesting import PATIENT, Patience, fetch_json
from cryofound.catalog.servers import entry_url
from cryofound.errors import SourceError

LICENCE = "CC0-1.0"  # of all data in EMDB and EMPIAR
ARCHIVE_ID = re.compile(r"(EMPIAR-\d{5,6})|(EMD-\d{4,5})")


@dataclass(frozen=True)
class EmdbFacts:
    """Files are paths below the entry's folder; resolution in angstrom; what the archive does not say is None."""

    id: str
    title: str | None
    citation: str | None
    resolution: float | None
    contour: float | None
    symmetry: str | None
    map_file: str
    half_maps: tuple[str, ...]
    masks: tuple[str, ...]
    pdb: tuple[str, ...]


@dataclass(frozen=True)
class EmpiarFacts:
    """`directories` of its image sets, below the entry's folder, each with what it holds."""

    id: str
    title: str | None
    citation: str | None
    emdb: tuple[str, ...]
    directories: tuple[tuple[str, str], ...]


def look_up_emdb(emdb_id: str, patience: Patience = PATIENT) -> EmdbFacts:
    """Ask EMDB's JSON interface; raises SourceError with one line."""
    content = fetch_json(entry_url(emdb_id), patience)
    if not isinstance(content.get("map"), dict):
        raise SourceError(f"{entry_url(emdb_id)}: the answer describes no map; is {emdb_id} released?")
    processing = _first(content, "structure_determination_list", "structure_determination", "image_processing")
    final = _at(processing, "final_reconstruction")
    contours = [item for item in _list(content, "map", "contour_list", "contour") if item.get("level") is not None]
    chosen = next((item for item in contours if item.get("primary")), contours[0] if contours else {})
    return EmdbFacts(
        id=emdb_id,
        title=_at(content, "admin", "title"),
        citation=_emdb_citation(_at(content, "crossreferences", "citation_list", "primary_citation", "citation_type")),
        resolution=_float(_at(final, "resolution")),
        contour=_float(chosen.get("level")),
        symmetry=_at(final, "applied_symmetry", "point_group"),
        map_file=f"map/{_at(content, 'map', 'file') or emdb_id.lower().replace('-', '_') + '.map.gz'}",
        half_maps=_files("other", content, "interpretation", "half_map_list", "half_map"),
        masks=_files("masks", content, "interpretation", "segmentation_list", "segmentation"),
        pdb=tuple(
            str(item["pdb_id"]).upper()
            for item in _list(content, "crossreferences", "pdb_list", "pdb_reference")
            if item.get("pdb_id")
        ),
    )


def look_up_empiar(empiar_id: str, patience: Patience = PATIENT) -> EmpiarFacts:
    """Ask EMPIAR's JSON interface; raises SourceError with one line."""
    content = fetch_json(entry_url(empiar_id), patience).get(empiar_id)
    if not isinstance(content, dict):
        raise SourceError(f"{entry_url(empiar_id)}: the answer does not describe {empiar_id}; is it released?")
    related = re.findall(r"EMD-\d{4,5}", str(content.get("cross_references", "")))
    return EmpiarFacts(
        id=empiar_id,
        title=content.get("title"),
        citation=next((text for item in _list(content, "citation") if (text := _empiar_citation(item))), None),
        emdb=tuple(dict.fromkeys(related)),
        directories=tuple(
            (str(item["directory"]).strip("/"), str(item.get("category") or item.get("name") or "images"))
            for item in _list(content, "imagesets")
            if item.get("directory")
        ),
    )


def _emdb_citation(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    names = [_value(author) for author in _list(item, "author")]
    doi = next((_value(each) for each in _list(item, "external_references") if each.get("type_") == "DOI"), None)
    return _citation(names, item.get("year"), item.get("journal"), doi, item.get("title"))


def _empiar_citation(item: dict[str, Any]) -> str | None:
    names = [_at(author, "author", "name") or _at(author, "name") for author in _list(item, "authors")]
    return _citation(names, item.get("year"), item.get("journal"), item.get("doi"), item.get("title"))


def _citation(names: list[Any], year: Any, journal: Any, doi: Any, title: Any) -> str | None:
    first = [str(name) for name in names if name]
    who = f"{first[0]} et al." if len(first) > 1 else "".join(first)
    parts = [" ".join(filter(None, (who, str(year or "")))), title and str(title).rstrip("."), journal]
    if doi:
        parts.append("doi:" + str(doi).removeprefix("doi:"))
    return ", ".join(str(part) for part in parts if part) or None


def _files(folder: str, content: dict[str, Any], *keys: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{item['file']}" for item in _list(content, *keys) if item.get("file"))


def _at(content: Any, *keys: str) -> Any:
    """The value below `keys`, None where the archive left one out."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return _value(content)


def _value(content: Any) -> Any:
    """EMDB gives values with units as {"valueOf_": ...}."""
    return content.get("valueOf_", content) if isinstance(content, dict) else content


def _first(content: Any, *keys: str) -> Any:
    """As `_at`, where each key leads to a list of which the first counts."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
        content = content[0] if isinstance(content, list) and content else content
    return content


def _list(content: Any, *keys: str) -> list[dict[str, Any]]:
    return list(_objects(_at(content, *keys)))


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, dict):
            yield item


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
