"""`cryofound build`: atomic models for the maps of a series, from one reference."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryofound.building.models import BuildRequest


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    build = nouns.add_parser("build", help="an atomic model for every map of a series")
    build.add_argument(
        "reference", type=Path, help="structure that lies in the maps: .cif, .pdb, or a prediction's folder"
    )
    build.add_argument("--map", dest="maps", type=Path, nargs="+", required=True, help="the maps, one for each state")
    build.add_argument(
        "--resolution", type=float, nargs="+", required=True, help="angstrom, one for all maps or one for each"
    )
    build.add_argument(
        "--half-maps", type=Path, nargs="+", default=[], metavar="HALF", help="both halves of each map, in their order"
    )
    build.add_argument("--mask", type=Path, help="on the maps' grid: only what it holds is fitted")
    build.add_argument("--chains", nargs="+", help="protein chains to build (default: all); others are carried along")
    build.add_argument("--recipe", type=Path, help="YAML of a build's settings (default: the same for all maps)")
    build.add_argument("--out", type=Path, required=True, help="folder to make")
    build.set_defaults(run=build_command)


def build_command(given: argparse.Namespace) -> None:
    """Build, print the scores and where they are; or raise a CryoFoundError."""
    from rich.console import Console

    from cryofound.building.models import build_models
    from cryofound.evaluation.model_scores import score_table

    outcome = build_models(build_request(given), given.out)
    Console(width=200, highlight=False).print(score_table(list(outcome.scores.values())))
    print(f"out={outcome.folder} models={len(outcome.built)}")


def build_request(given: argparse.Namespace) -> "BuildRequest":
    """What the arguments ask for; raises RecipeError where their numbers do not agree."""
    from cryofound.building.models import BuildRequest, StateMap
    from cryofound.config import BuildConfig, load_yaml
    from cryofound.errors import RecipeError

    resolutions = _one_or_each(given.resolution, given.maps, "resolutions")
    if len(given.half_maps) not in (0, 2 * len(given.maps)):
        raise RecipeError(
            f"{len(given.half_maps)} half maps for {len(given.maps)} maps; give both halves of each, or none"
        )
    halves = [None] * len(given.maps) if not given.half_maps else list(_pairs(given.half_maps))
    states = tuple(
        StateMap(_state_id(path), path, resolution, pair, given.mask)
        for path, resolution, pair in zip(given.maps, resolutions, halves, strict=True)
    )
    config = load_yaml(given.recipe, BuildConfig) if given.recipe else BuildConfig()
    return BuildRequest(given.reference, states, config, tuple(given.chains) if given.chains else None)


def _one_or_each(values: Sequence[float], maps: Sequence[Path], what: str) -> Sequence[float]:
    from cryofound.errors import RecipeError

    if len(values) not in (1, len(maps)):
        raise RecipeError(f"{len(maps)} maps and {len(values)} {what}; give one for all maps or one for each")
    return list(values) * (len(maps) // len(values))


def _pairs(halves: Sequence[Path]) -> list[tuple[Path, Path]]:
    return list(zip(halves[::2], halves[1::2], strict=True))


def _state_id(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".bz2").rsplit(".", 1)[0]
