"""`cryofound store`: what has been ingested, and whether it is still whole."""

import argparse
from pathlib import Path
from typing import Any

from cryofound.home import default_home

WIDTH = 120


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("store", help="ingested maps and training shards").add_subparsers(
        required=True, metavar="VERB"
    )
    listing = verbs.add_parser("list", help="list the stores of a home")
    check = verbs.add_parser("check", help="compare every checksum; finish or remove what a crash left")
    for verb, run in ((listing, list_stores), (check, check_stores)):
        verb.add_argument("--home", type=Path, default=default_home(), help="default: %(default)s")
        verb.set_defaults(run=run)
    check.add_argument("--repair", action="store_true", help="remove what is damaged or left over, finish what can be")


def list_stores(given: argparse.Namespace) -> None:
    """Print every store of a home: finished or not, systems, states, grid, size."""
    from rich.console import Console
    from rich.table import Table

    from cryofound.ensemble.checking import stores_in
    from cryofound.ensemble.store import SYSTEMS
    from cryofound.manifest import is_finished, read_manifest

    table = Table("store", "", "systems", "states", "grid", "MiB")
    stores = stores_in(given.home)
    for store in stores:
        told = read_manifest(store, check=False) if is_finished(store) else {}
        finished = [path for path in (store / SYSTEMS).glob("*") if is_finished(path)]
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        table.add_row(
            store.name,
            "finished" if told else "unfinished",
            str(len(finished)),
            str(told.get("states", "")),
            _grid_text(told["grid"]) if "grid" in told else "",
            f"{size / 2**20:.1f}",
        )
    Console(width=WIDTH, highlight=False).print(table)
    print(f"home={given.home} stores={len(stores)}")


def _grid_text(grid: dict[str, Any]) -> str:
    sizes = grid["box_size"] if isinstance(grid["box_size"], list) else [grid["box_size"]]
    return f"{', '.join(map(str, sizes))} voxels of {grid['voxel_size']} A"


def check_stores(given: argparse.Namespace) -> None:
    """Print one line for everything that is wrong; raises StoreError if harm is left unmended."""
    from cryofound.ensemble.checking import check_store, stores_in
    from cryofound.errors import StoreError
    from cryofound.manifest import PARTIAL

    left = 0
    for store in stores_in(given.home):
        lock = given.home / "cache" / f"{store.name.removesuffix(PARTIAL)}.lock"
        findings = check_store(store, lock, repair=given.repair)
        for each in findings:
            place = each.place.relative_to(given.home)
            print(f"{place}: {each.text}" + (f"; {each.mended}" if each.mended else ""))
        harmed = sum(each.harm and not each.mended for each in findings)
        left += harmed
        if not findings:
            print(f"{store.name}: every checksum is right")
    if left:
        places = "1 place" if left == 1 else f"{left} places"
        raise StoreError(f"{given.home}: damaged in {places}; run `cryofound store check --repair`")
