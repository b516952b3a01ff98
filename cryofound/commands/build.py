"""`cryofound build`: atomic models for the maps of a series, from one reference or from a catalog entry."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofound.home import default_home

if TYPE_CHECKING:
    from cryofound.building.models import BuildRequest, Outcome
    from cryofound.config import BuildConfig


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    build = nouns.add_parser("build", help="an atomic model for every map of a series")
    build.add_argument(
        "reference", type=Path, nargs="?", help="structure of the maps' protein: .cif, .pdb, or a prediction's folder"
    )
    build.add_argument("--map", dest="maps", type=Path, nargs="+", default=[], help="the maps, one for each state")
    build.add_argument(
        "--resolution", type=float, nargs="+", default=[], help="angstrom, one for all maps or one for each"
    )
    build.add_argument(
        "--half-maps", type=Path, nargs="+", default=[], metavar="HALF", help="both halves of each map, in their order"
    )
    build.add_argument("--mask", type=Path, help="on the maps' grid: only what it holds is fitted")
    build.add_argument("--chains", nargs="+", help="protein chains to build (default: all); others are carried along")
    build.add_argument(
        "--starts", type=Path, nargs="+", default=[], metavar="MODELS", help="to begin from as well: samples, states"
    )
    add_system_arguments(build)
    build.set_defaults(run=build_command)


def add_system_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that jobs/build_models.py has as well."""
    parser.add_argument("--system", dest="systems", nargs="+", default=[], help="build these systems of the catalog")
    parser.add_argument(
        "--entries",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="files or folders of catalog entries, all of them without --system (default: configs/catalog)",
    )
    parser.add_argument(
        "--register",
        choices=("auto", "always", "never"),
        nargs="?",
        const="always",
        default="auto",
        help="look for the reference in the map (default: auto, where it does not lie there)",
    )
    parser.add_argument("--recipe", type=Path, help="YAML of a build's settings (default: the same for all maps)")
    parser.add_argument("--home", type=Path, help="where downloads and runs are kept (default: $CRYOFOUND_HOME)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make; of systems, that of their folders")


def build_command(given: argparse.Namespace) -> None:
    """Build, print the scores and where they are, and tell MLflow; or raise a CryoFoundError."""
    from cryofound.building.models import build_models
    from cryofound.building.placing import laid_request
    from cryofound.commands.build_systems import build_system, chosen_entries, inputs_folder, raise_first
    from cryofound.disk import make_parent
    from cryofound.errors import CryoFoundError, RecipeError, StructureError

    home = (given.home or default_home()).resolve()
    if not (given.systems or given.entries):
        request = build_request(given)
        if given.out.exists():  # before anything is searched for
            raise StructureError(f"{given.out}: exists already; name another folder, or delete it")
        make_parent(given.out)
        request = laid_request(request, given.register, inputs_folder(given.out))
        outcome = build_models(request, given.out)
        _finished(outcome, given.out, home, given.out.resolve().name)
        return
    if given.reference or given.maps:
        raise RecipeError("a REFERENCE with --map, or --system and --entries: give one of the two")
    config, entries, failed = build_config(given.recipe), chosen_entries(given.entries, given.systems), {}
    for entry in entries:
        folder = given.out / entry.system_id
        try:
            outcome = build_system(entry, folder, config, given.register, home)
        except CryoFoundError as error:
            failed[entry.system_id] = error
            if len(entries) > 1:  # of one alone the command itself tells
                print(f"refused: {error}", flush=True)
            continue
        _finished(outcome, folder, home, entry.system_id)
    raise_first(failed)


def build_request(given: argparse.Namespace) -> "BuildRequest":
    """What the arguments ask for; raises RecipeError where something is missing or their numbers do not agree."""
    from cryofound.building.models import BuildRequest, StateMap
    from cryofound.errors import RecipeError

    if not (given.reference and given.maps and given.resolution):
        raise RecipeError("what is to be built? give REFERENCE --map MAP ... --resolution ANGSTROM, or --system ID")
    if not all(each > 0 for each in given.resolution):
        raise RecipeError(f"a resolution of {min(given.resolution):g} A; give a positive number")
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
    chains = tuple(given.chains) if given.chains else None
    return BuildRequest(given.reference, states, build_config(given.recipe), chains, starts=tuple(given.starts))


def build_config(recipe: Path | None) -> "BuildConfig":
    """The settings of a recipe, or the ones for all maps."""
    from cryofound.config import BuildConfig, load_yaml

    return load_yaml(recipe, BuildConfig) if recipe else BuildConfig()


def _finished(outcome: "Outcome | None", folder: Path, home: Path, name: str) -> None:
    """Print the scores of what was built, and tell MLflow of it, also of what an earlier run could not."""
    from rich.console import Console

    from cryofound.commands.build_systems import record_build
    from cryofound.errors import TrackingError
    from cryofound.evaluation.model_scores import score_table

    if outcome:
        Console(width=200, highlight=False).print(score_table(list(outcome.scores.values())))
        print(f"out={folder} models={len(outcome.built)} report={folder / 'report.html'}")
    try:
        run = record_build(folder, home, name)
        print(f"mlflow={run.run_id} tracking={run.uri}")
    except TrackingError as error:
        print(f"warning: not in MLflow: {error}", file=sys.stderr)


def _one_or_each(values: Sequence[float], maps: Sequence[Path], what: str) -> Sequence[float]:
    from cryofound.errors import RecipeError

    if len(values) not in (1, len(maps)):
        raise RecipeError(f"{len(maps)} maps and {len(values)} {what}; give one for all maps or one for each")
    return list(values) * (len(maps) // len(values))


def _pairs(halves: Sequence[Path]) -> list[tuple[Path, Path]]:
    return list(zip(halves[::2], halves[1::2], strict=True))


def _state_id(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".bz2").rsplit(".", 1)[0]
