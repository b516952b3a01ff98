"""The `cryofound` command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cryofound.config import digest, load_recipe
from cryofound.errors import CryoFoundError


def default_home() -> Path:
    """Where stores, models and runs are kept: $CRYOFOUND_HOME, else ~/.local/share/cryofound."""
    return Path(os.environ.get("CRYOFOUND_HOME") or Path.home() / ".local/share/cryofound").resolve()


def check_recipe(path: Path) -> None:
    """Read a recipe and its catalog entries: print what they hold, or raise a CryoFoundError."""
    from cryofound.catalog.entry import load_entries

    recipe = load_recipe(path)
    entries = load_entries(recipe.entries)
    held_out = sum(entry.split == "held_out" for entry in entries)
    families = len({entry.family for entry in entries})
    print(
        f"recipe={recipe.name} digest={digest(recipe)} systems={len(entries)} held_out={held_out} families={families}"
    )


def list_models(home: Path) -> None:
    """Print the registered models of a home."""
    from cryofound.tracking import registered_models  # takes seconds, which only this command should cost

    rows = registered_models(home)
    table = Table("name", "version", "aliases", "run", "made")
    for row in rows:
        table.add_row(*row.values())
    Console(width=120).print(table if rows else f"no models are registered in {home} yet; run `make pretrain`")


def parser() -> argparse.ArgumentParser:
    """Commands are nouns with verbs below them."""
    top = argparse.ArgumentParser(prog="cryofound", description="Protein motions learnt from cryo-EM density.")
    nouns = top.add_subparsers(required=True, metavar="NOUN")
    recipe = nouns.add_parser("recipe", help="recipes").add_subparsers(required=True, metavar="VERB")
    check = recipe.add_parser("check", help="read a recipe and its catalog entries, and say what is wrong with them")
    check.add_argument("path", type=Path, help="the YAML file, for example configs/pretrain/demo.yaml")
    check.set_defaults(run=lambda given: check_recipe(given.path))
    models = nouns.add_parser("models", help="registered models").add_subparsers(required=True, metavar="VERB")
    listing = models.add_parser("list", help="list the registered models")
    listing.add_argument("--home", type=Path, default=default_home(), help="default: %(default)s ($CRYOFOUND_HOME)")
    listing.set_defaults(run=lambda given: list_models(given.home))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line on stderr if the input is at fault."""
    given = parser().parse_args(arguments)
    try:
        given.run(given)
    except CryoFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
