"""`cryofound models`: registered models: what there is, what one is good for, which one is in use."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from cryofound.home import default_home

# Verbs import what they need themselves: it takes seconds, which only they should cost.


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("models", help="registered models").add_subparsers(required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="list the registered models")
    listing.set_defaults(run=lambda given: list_models(given.home))
    show = verbs.add_parser("show", help="the card of a model: what it knows, how good it is, what it is not for")
    show.add_argument("name", metavar="NAME[@ALIAS|/VERSION]", help="without alias or version the latest; or a folder")
    show.set_defaults(run=lambda given: show_model(given.home, given.name))
    promotion = verbs.add_parser("promote", help="point an alias to a version")
    promotion.add_argument("name", metavar="NAME/VERSION")
    promotion.add_argument("alias", nargs="?", default="production", help="default: %(default)s")
    promotion.set_defaults(run=lambda given: promote_model(given.home, given.name, given.alias))
    for verb in (listing, show, promotion):
        verb.add_argument("--home", type=Path, default=default_home(), help="default: %(default)s ($CRYOFOUND_HOME)")


def list_models(home: Path) -> None:
    """Print the registered models of a home."""
    from cryofound.registry import registered_models

    versions = registered_models(home)
    if not versions:
        print(f"no models are registered in {home} yet; run `make pretrain`")
        return
    table = Table("name", "version", "aliases", "run", "made")
    for each in versions:
        table.add_row(each.name, str(each.version), ", ".join(each.aliases), each.run_id, each.made)
    Console(width=120).print(table)


def show_model(home: Path, name: str) -> None:
    """Print the card of a registered model or of a model folder.

    Raises RecipeError for an unknown one, StoreError for one without card.
    """
    from cryofound.registry import REGISTERED, find_version, load_card
    from cryofound.sampling.model_card import card_text

    if Path(name).is_dir():
        Console(width=120).print(Markdown(card_text(load_card(name, home))))
        return
    version = find_version(home, name)
    card = load_card(f"{REGISTERED}{version.name}/{version.version}", home)
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    print(f"{version.name} version {version.version}{aliases}, made {version.made} by run {version.run_id}")
    Console(width=120).print(Markdown(card_text(card)))


def promote_model(home: Path, name: str, alias: str) -> None:
    """Point an alias to a version, and say what it pointed to before."""
    from cryofound.registry import promote

    version, before = promote(home, name, alias)
    told = f"version {before} before" if before else "set for the first time"
    print(f"{version.name}@{alias} is version {version.version} ({told})")
