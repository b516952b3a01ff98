"""`cryofound reference-data`: MolProbity's reference data."""

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cryofound.catalog.sources import MIRROR
from cryofound.home import default_home


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("reference-data", help="MolProbity's reference data").add_subparsers(
        required=True, metavar="VERB"
    )
    home = default_home() / "reference-data"
    fetch = verbs.add_parser("fetch", help="bring the Top8000 grids and cctbx's chem_data into the home folder")
    fetch.add_argument(
        "--from", dest="mirror", type=Path, help=f"a folder to take them from (default: ${MIRROR}, else the network)"
    )
    fetch.add_argument("--into", type=Path, default=home, help="default: %(default)s")
    fetch.set_defaults(run=lambda given: fetch_data(given.into, given.mirror))
    listing = verbs.add_parser("list", help="list what is there, where it came from and its licence")
    listing.add_argument("--into", type=Path, default=home, help="default: %(default)s")
    listing.set_defaults(run=lambda given: list_data(given.into))
    derive = verbs.add_parser("derive", help="derive the tables that the package ships from the fetched data")
    derive.add_argument("--from", dest="folder", type=Path, default=home, help="default: %(default)s")
    derive.add_argument("--into", type=Path, required=True, help="the folder to write the tables to")
    derive.set_defaults(run=lambda given: derive_tables(given.folder, given.into))


def fetch_data(into: Path, mirror: Path | None) -> None:
    """Fetch all files and print how many came from where, or raise a CryoFoundError."""
    from cryofound.physics.reference_data import LICENCE, fetch

    named = os.environ.get(MIRROR)
    sources = fetch(into, mirror or (Path(named) if named else None))
    print(f"reference_data={into} files={len(sources)} licence={into / LICENCE}")


def list_data(into: Path) -> None:
    """Print every file's state, origin and licence."""
    from cryofound.physics.reference_data import states

    table = Table("file", "state", "from", "licence")
    for row in states(into):
        table.add_row(*row)
    Console(width=160).print(table)


def derive_tables(folder: Path, into: Path) -> None:
    """Write the tables, or raise a CryoFoundError."""
    from cryofound.physics.reference_data import derive

    for path in derive(folder, into):
        print(f"wrote {path}")
