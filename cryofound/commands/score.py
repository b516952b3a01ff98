"""`cryofound score`: how well models fit their maps, and their stereochemistry."""

import argparse
from pathlib import Path
from typing import Any


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    score = nouns.add_parser("score", help="fit of models to maps, and stereochemistry")
    score.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="PDB or mmCIF, each model of it is scored")
    score.add_argument(
        "--map", dest="maps", type=Path, nargs="+", required=True, help="one for all models, or one for each in order"
    )
    score.add_argument(
        "--resolution", type=float, nargs="+", help="angstrom, one for each map (default: d_model of cctbx mtriage)"
    )
    score.add_argument("--out", type=Path, help="folder for scores.json, residues.csv and fsc.csv")
    score.add_argument("--keep-b", action="store_true", help="keep the models' B-factors; else they are fitted first")
    score.add_argument("--processes", type=int, help="run at once (default: the CPUs there are)")
    score.set_defaults(run=score_command)


def score_command(given: argparse.Namespace) -> None:
    """Score the models, print the table and write the files, or raise a CryoFoundError."""
    from rich.console import Console
    from rich.progress import Progress

    from cryofound.errors import SourceError, StructureError
    from cryofound.evaluation.model_scores import score_models, score_table, write_model_scores
    from cryofound.evaluation.monomer_library import validation_library
    from cryofound.evaluation.scored_model import read_scored_models
    from cryofound.maps.mrc import read_map

    models = [model for path in given.models for model in read_scored_models(path)]
    if len({model.name for model in models}) < len(models):
        raise StructureError("two of the models have the same name; copy one of them to another name")
    if len(given.maps) not in (1, len(models)):
        raise StructureError(
            f"{len(models)} models and {len(given.maps)} maps; give one map for all models or one for each"
        )
    if given.resolution and len(given.resolution) not in (1, len(given.maps)):
        raise StructureError(
            f"{len(given.maps)} maps and {len(given.resolution)} resolutions; give one for all maps or one for each"
        )
    for each in given.resolution or ():
        if each <= 0:
            raise StructureError(f"a resolution of {each:g} A; give a positive number")
    densities = [read_map(path) for path in given.maps]
    pairs = list(zip(models, densities * (len(models) // len(densities)), strict=True))
    known = given.resolution or [_resolution(path, *pair) for path, pair in zip(given.maps, pairs, strict=False)]
    resolutions = (known * len(models))[: len(models)]
    console = Console(width=200, highlight=False)
    library = None
    try:
        library = validation_library()
    except SourceError as error:
        print(f"no rotamers, clashscore and MolProbity score: {error}")
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        work = progress.add_task("scoring", total=len(models) * (3 if library else 2))
        scores = score_models(
            pairs,
            resolutions,
            library,
            keep_b=given.keep_b,
            processes=given.processes,
            advance=lambda done: progress.update(work, advance=1, description=done),
        )
    console.print(score_table(scores))
    for score in scores:
        if score.clash is not None and score.clash.left_out:
            print(f"{score.model.name}: clashscore without {', '.join(score.clash.left_out)} (no restraints)")
        if not given.keep_b:
            chosen = "fitted, one per residue" if score.fit.fitted else "those of the file, which fit better"
            print(f"{score.model.name}: B-factors {chosen}; CC_mask as given {score.fit.cc_mask_as_given:.3f}")
    if given.out:
        write_model_scores(given.out, scores)
        print(f"out={given.out} models={len(scores)}")


def _resolution(path: Path, model: Any, density: Any) -> float:
    """d_model of a map by a model of it, in angstrom."""
    import tempfile

    from cryofound.errors import MapError
    from cryofound.evaluation.map_model import require_cover
    from cryofound.maps.mtriage import model_resolution

    require_cover(density, model)
    with tempfile.TemporaryDirectory(prefix="cryofound-score-") as folder:
        model.write(Path(folder) / "model.cif")
        found = model_resolution(density, Path(folder) / "model.cif")
    if found is None:
        raise MapError(f"{path}: its resolution is not known; give --resolution")
    print(f"{path}: resolution {found.d_model:.2f} A (d_model of mtriage); --resolution gives another")
    return found.d_model
