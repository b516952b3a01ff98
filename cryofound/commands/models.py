"""`cryofound models`: registered models."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cryofound.home import default_home


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("models", help="registered models").add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list the registered models")
    listing.add_argument("--home", type=Path, default=default_home(), help="default: %(default)s ($CRYOFOUND_HOME)")
    listing.set_defaults(run=lambda given: list_models(given.home))


def list_models(home: Path) -> None:
    """Print the registered models of a home."""
    from cryofound.registry import registered_models  # takes seconds, which only this command should cost

    rows = registered_models(home)
    if not rows:
        print(f"no models are registered in {home} yet; run `make pretrain`")
        return
    table = Table("name", "version", "aliases", "run", "made")
    for row in rows:
        table.add_row(*row.values())
    Console(width=120).print(table)
