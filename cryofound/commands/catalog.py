"""`cryofound catalog`: data sets, added, listed, checked, fetched and followed."""

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofound.catalog.files import DEFAULT_CATALOG
from cryofound.errors import RecipeError
from cryofound.home import default_home

if TYPE_CHECKING:
    from cryofound.catalog.archives import EmdbFacts
    from cryofound.catalog.drafting import GivenReference
    from cryofound.catalog.validation import Finding

WIDTH = 120


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("catalog", help="data sets").add_subparsers(required=True, metavar="VERB")
    _add_add(verbs)
    for name, run, text in (
        ("list", list_catalog, "one line for each entry"),
        ("show", show_entries, "print entries as they are understood"),
        ("validate", validate_catalog, "say what is wrong, missing or still open; nothing is downloaded"),
        ("fetch", fetch_entries, "download the files of entries"),
        ("status", print_status, "what has been ingested, and from which inputs"),
        ("remove", remove_entries, "delete entries; their data stay"),
    ):
        verb = verbs.add_parser(name, help=text)
        least = "+" if name in ("remove", "show") else "*"
        verb.add_argument("names", nargs=least, metavar="ID", help="system, accession or file; default: all entries")
        verb.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help="folder (default: %(default)s)")
        if name in ("validate", "fetch", "status"):
            verb.add_argument(
                "--home", type=Path, default=default_home(), help="default: %(default)s ($CRYOFOUND_HOME)"
            )
        if name in ("validate", "status"):
            verb.add_argument("--checksums", action="store_true", help="read every file and compare its checksum")
        if name == "validate":
            verb.add_argument("--strict", action="store_true", help="missing files count as wrong")
        verb.set_defaults(run=run)
    fields = verbs.add_parser("fields", help="print what an entry may say, field by field")
    fields.set_defaults(run=print_fields)


def _add_add(verbs: Any) -> None:
    add = verbs.add_parser("add", help="check maps, reference and sequences, and write an entry")
    add.add_argument("id", help="EMPIAR-10400, EMD-40226, or a name of your own")
    add.add_argument("--maps", help="folder, quoted pattern, map, or text file of paths; not needed for EMD-...")
    add.add_argument("--reference", required=True, help="Boltz or AlphaFold output, .cif or .pdb file, or a PDB id")
    add.add_argument("--name", help="which prediction of a Boltz folder that holds several")
    add.add_argument("--sequences", type=Path, help="FASTA file, each protein once")
    add.add_argument("--family", required=True, help="name of the family, as trp-channel")
    add.add_argument("--symmetry", help="point group of the maps (default: C1, or what EMDB says)")
    add.add_argument("--split", choices=("train", "held_out"), default="train", help="default: %(default)s")
    add.add_argument("--resolution", type=float, help="angstrom, of the maps that come without one")
    add.add_argument("--contour", type=float, help="contour level of the maps, in their own units")
    add.add_argument("--mask", type=Path, help="mask of the maps, on their grid")
    add.add_argument("--half-maps", type=Path, nargs=2, metavar="HALF", help="the two half maps of a single map")
    add.add_argument("--system-id", help="default: the id")
    for name in ("title", "citation", "licence"):
        add.add_argument(f"--{name}", help="in words")
    add.add_argument("--look-up", action="store_true", help="ask the archive for title, citation and licence")
    add.add_argument("--out", type=Path, default=DEFAULT_CATALOG, help="folder of entries (default: %(default)s)")
    add.add_argument("--home", type=Path, default=default_home(), help="default: %(default)s ($CRYOFOUND_HOME)")
    add.add_argument("--force", action="store_true", help="replace an entry that is there")
    add.set_defaults(run=add_entry)


def add_entry(given: argparse.Namespace) -> None:
    """Check everything, write `<out>/<system_id>.yaml` and its picture, and print what was understood."""
    from rich.console import Console
    from rich.table import Table

    from cryofound.catalog.drafting import Companions, draft_entry, parse_id
    from cryofound.catalog.files import picture_of, writable, write_entry
    from cryofound.catalog.picture import save_series_picture
    from cryofound.catalog.series import find_series
    from cryofound.catalog.summary import draft_rows
    from cryofound.reference.sequences import read_fasta

    system_id, accessions = parse_id(given.id)
    system_id = given.system_id or system_id
    path = given.out / f"{system_id}.yaml"
    writable(path, force=given.force)
    emdb = None
    if given.maps is None:
        if "emdb" not in accessions:
            raise RecipeError(f"{given.id}: which maps? give --maps with a folder or a quoted pattern")
        emdb, place = _deposited_map(given.id, given.home)
        series = find_series(place)
    else:
        series = find_series(given.maps)
    facts = {"system_id": system_id, **_known_facts(given, accessions, emdb)}
    sequences = read_fasta(given.sequences) if given.sequences else {}
    console = Console(width=WIDTH, highlight=False)
    with console.status("reading maps") as status:
        draft = draft_entry(
            series,
            _reference(given.reference, given.name, given.home),
            sequences,
            facts,
            companions=Companions(given.mask, given.half_maps and (given.half_maps[0], given.half_maps[1])),
            resolution=given.resolution,
            emdb=emdb,
            progress=lambda name: status.update(f"reading {name}"),
        )
    save_series_picture(picture_of(path), [state.state_id for state in draft.entry.states], draft.surveys)
    write_entry(path, draft.entry, force=given.force)
    table = Table(show_header=False, title=f"{system_id} ({given.family}, {given.split})", title_justify="left")
    for row in draft_rows(draft):
        table.add_row(*row)
    console.print(table)
    for note in draft.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"wrote {path} and {picture_of(path)}", soft_wrap=True)


def _known_facts(
    given: argparse.Namespace, accessions: dict[str, tuple[str, ...]], emdb: "EmdbFacts | None"
) -> dict[str, Any]:
    """What was given, and what an archive that was asked says where nothing was."""
    from cryofound.catalog.archives import LICENCE, look_up_empiar

    told: dict[str, Any] = {}
    if emdb:
        told = {"title": emdb.title, "citation": emdb.citation, "licence": LICENCE}
    elif given.look_up and "empiar" in accessions:
        empiar = look_up_empiar(given.id)
        told = {"title": empiar.title, "citation": empiar.citation, "licence": LICENCE}
    return {
        "family": given.family,
        "split": given.split,
        "accessions": {**accessions, "pdb": emdb.pdb if emdb else ()},
        "symmetry": given.symmetry or (emdb and emdb.symmetry) or "C1",
        "contour": given.contour,
        **{key: getattr(given, key) or told.get(key) for key in ("title", "citation", "licence")},
    }


def _deposited_map(emdb_id: str, home: Path) -> "tuple[EmdbFacts, Path]":
    from cryofound.catalog.archives import look_up_emdb
    from cryofound.catalog.source_schema import EmdbSource
    from cryofound.catalog.sources import fetch_file
    from cryofound.errors import SourceError

    facts = look_up_emdb(emdb_id)
    if facts.resolution is None:
        raise SourceError(
            f"{emdb_id}: the archive states no resolution; download the map and give --maps and --resolution"
        )
    return facts, fetch_file(EmdbSource(kind="emdb", id=emdb_id), facts.map_file, home / "cache")


def _reference(text: str, name: str | None, home: Path) -> "GivenReference":
    """The reference at a path, or that of a PDB id; its chains are read one by one."""
    from cryofound.catalog.drafting import GivenReference
    from cryofound.catalog.source_schema import PdbSource
    from cryofound.catalog.sources import fetch
    from cryofound.reference.reading import read_reference
    from cryofound.structure.chains import chain_rows
    from cryofound.structure.reading import read_model

    pdb_id = text.upper() if re.fullmatch(r"[0-9][A-Za-z0-9]{3}", text) and not Path(text).exists() else None
    place = fetch(PdbSource(kind="pdb", id=pdb_id), home / "cache") if pdb_id else Path(text)
    prediction = read_reference(place, name)
    best = prediction.best
    chains = {chain: read_model(best.path, chain) for chain in chain_rows(best.atoms)}
    known = {"boltz-2": "boltz-2", "boltz-1": "boltz-1", "alphafold": "alphafold", "boltz": "other"}
    method = "experiment" if pdb_id else known.get(prediction.program)
    score = best.confidence.scores.get("confidence_score") if best.confidence else None
    made = None if prediction.program == "structure" else f"{prediction.program} prediction {prediction.name}"
    if made and score is not None:
        made += f", model {best.rank} with confidence_score {score:.3f}"
    return GivenReference(best.path, chains, method, made, pdb_id)


def list_catalog(given: argparse.Namespace) -> None:
    """Print one line for each entry, and one for each file that is none."""
    from rich.console import Console
    from rich.table import Table

    from cryofound.catalog.files import find_entries, read_entries
    from cryofound.catalog.summary import origin_of
    from cryofound.errors import CryoFoundError

    table = Table("system", "family", "split", "states", "made by", "sources", "file")
    chosen = find_entries(given.catalog, given.names) if given.names else list(read_entries(given.catalog))
    for path, entry in chosen:
        if isinstance(entry, CryoFoundError):
            continue
        sources = ", ".join(sorted({source.kind for source in entry.sources.values()}))
        table.add_row(
            entry.system_id,
            entry.family,
            entry.split,
            str(len(entry.states)),
            origin_of(entry),
            sources,
            os.path.relpath(path, given.catalog),
        )
    console = Console(width=WIDTH, highlight=False)
    console.print(table)
    _raise_all(str(entry) for _, entry in chosen if isinstance(entry, CryoFoundError))


def show_entries(given: argparse.Namespace) -> None:
    """Print entries as YAML, as they are understood: defaults left out, folders absolute."""
    from cryofound.catalog.files import entry_text, find_entries

    for path, entry in find_entries(given.catalog, given.names):
        print(f"# {path}\n{entry_text(entry)}", end="")


def validate_catalog(given: argparse.Namespace) -> None:
    """Print one line for each finding; raise if anything is wrong."""
    from cryofound.catalog.files import clashes, find_entries, read_entries
    from cryofound.catalog.sources import mirror_index
    from cryofound.catalog.validation import Finding, check_entry
    from cryofound.errors import CryoFoundError

    chosen = find_entries(given.catalog, given.names) if given.names else list(read_entries(given.catalog))
    mirror = mirror_index()
    told: list[tuple[str, Finding]] = []
    for _, entry in chosen:
        if isinstance(entry, CryoFoundError):
            told.append(("", Finding("wrong", str(entry))))
            continue
        findings = check_entry(entry, given.home / "cache", mirror, checksums=given.checksums)
        told += [(f"{entry.system_id}: ", finding) for finding in findings]
    good = [(path, entry) for path, entry in chosen if not isinstance(entry, CryoFoundError)]
    told += [("", Finding("wrong", text)) for text in clashes(good)]
    for (name, kind, _), (text, *more) in folded(told).items():
        print(f"{kind:7} {name}{text}" + (f" (and {len(more)} files more)" if more else ""))
    count = {kind: sum(finding.kind == kind for _, finding in told) for kind in ("wrong", "missing", "open")}
    print(f"entries={len(chosen)} " + " ".join(f"{kind}={number}" for kind, number in count.items()))
    bad = count["wrong"] + (count["missing"] if given.strict else 0)
    if bad:
        raise RecipeError(f"{given.catalog}: {bad} findings to mend; they are listed above")


def folded(told: "Sequence[tuple[str, Finding]]") -> dict[tuple[str, str, str], list[str]]:
    """Texts by system, kind and remedy: the files of a series that are missing have one remedy and fill one line."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for name, finding in told:
        remedy = finding.text.rpartition("; ")[2] if finding.kind == "missing" else finding.text
        lines.setdefault((name, finding.kind, remedy), []).append(finding.text)
    return lines


def fetch_entries(given: argparse.Namespace) -> None:
    """Download what entries name in archives and packages, one line for each file; raise at the end if any failed."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cryofound.catalog.entry import LocalSource
    from cryofound.catalog.files import find_entries
    from cryofound.catalog.sources import fetch_file
    from cryofound.errors import SourceError

    console = Console(highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    failed: list[str] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        for _, entry in find_entries(given.catalog, given.names):
            for file in dict.fromkeys(entry.files()):
                source = entry.sources[file.source]
                if isinstance(source, LocalSource):
                    continue
                bar = bars.add_task(f"{entry.system_id} {file.file or file.source}", total=None)
                try:
                    place = fetch_file(
                        source,
                        file.file,
                        given.home / "cache",
                        sha256=file.sha256,
                        progress=lambda done, total, bar=bar: bars.update(bar, completed=done, total=total),
                    )
                    console.print(f"here    {entry.system_id}: {place} ({place.stat().st_size} bytes)")
                except SourceError as error:
                    failed.append(f"{entry.system_id}: {error}")
                    console.print(f"failed  {failed[-1]}")
                bars.remove_task(bar)
    _raise_all(failed)


def print_status(given: argparse.Namespace) -> None:
    """Print for each entry which stores hold it, from how many files, and whether it has changed since."""
    from rich.console import Console
    from rich.table import Table

    from cryofound.catalog.files import find_entries
    from cryofound.catalog.ingested import changes, ingested_in
    from cryofound.catalog.sources import mirror_index

    entries = [entry for _, entry in find_entries(given.catalog, given.names)]
    stores = sorted(path for path in given.home.glob("store-*") if path.is_dir())
    known = [found for store in stores for found in ingested_in(store)]
    mirror = mirror_index() if given.checksums else None
    table = Table("system", "store", "states", "inputs", "since then")
    for entry in entries:
        rows = [found for found in known if found.system_id == entry.system_id]
        for found in rows:
            since = changes(entry, found, given.home / "cache", mirror, checksums=given.checksums)
            table.add_row(
                entry.system_id, found.store.name, str(found.states), str(len(found.inputs)), "; ".join(since) or "same"
            )
        if not rows:
            table.add_row(entry.system_id, "not ingested", str(len(entry.states)), "", "")
    for found in known if not given.names else []:
        if found.system_id not in {entry.system_id for entry in entries}:
            table.add_row(
                found.system_id, found.store.name, str(found.states), str(len(found.inputs)), "in no entry here"
            )
    Console(width=WIDTH, highlight=False).print(table)
    print(f"home={given.home} stores={len(stores)} systems={len(known)}")


def remove_entries(given: argparse.Namespace) -> None:
    """Delete the files of entries and their pictures; maps, downloads and stores stay."""
    from cryofound.catalog.files import find_entries, picture_of

    for path, entry in find_entries(given.catalog, given.names):
        path.unlink()
        picture_of(path).unlink(missing_ok=True)
        print(f"removed {entry.system_id} ({path}); its data were not touched")


def print_fields(given: argparse.Namespace) -> None:
    """Print the schema as docs/catalog.md has it."""
    from cryofound.catalog.documentation import field_tables

    print(field_tables(), end="")


def _raise_all(lines: Iterable[str]) -> None:
    """One line for all errors: the first, and how many more there were."""
    first, *others = list(lines) or [""]
    if first:
        raise RecipeError(first + (f" (and {len(others)} more)" if others else ""))
