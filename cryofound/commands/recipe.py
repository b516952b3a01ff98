"""`cryofound recipe`: recipes."""

from pathlib import Path
from typing import Any

from cryofound.config import digest, load_recipe


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("recipe", help="recipes").add_subparsers(required=True, metavar="VERB")
    check = verbs.add_parser("check", help="read a recipe and its catalog entries, and say what is wrong with them")
    check.add_argument("path", type=Path, help="the YAML file, for example configs/pretrain/demo.yaml")
    check.set_defaults(run=lambda given: check_recipe(given.path))


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
