"""`cryofound evaluate`: how well an ensemble covers known states and maps, beside what one gets without it."""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from cryofound.evaluation.ensemble_maps import TargetMap
    from cryofound.evaluation.sample_file import Samples
    from cryofound.structure.atomic_model import AtomicModel

CORE = re.compile(r"(?:(?P<chain>[^:]+):)?(?P<first>-?\d+)-(?P<last>-?\d+)")
POPULATIONS = ["name", "population"]


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    evaluate = nouns.add_parser("evaluate", help="an ensemble against known states and maps")
    evaluate.add_argument(
        "samples", type=Path, nargs="+", metavar="SAMPLES", help="PDB or mmCIF, every model counts; or folders of them"
    )
    evaluate.add_argument(
        "--states", nargs="+", default=[], metavar="FILE[:CHAINS]", help="true structures, every model; chains as A,B"
    )
    evaluate.add_argument("--maps", type=Path, nargs="+", default=[], help="maps, one for each state")
    evaluate.add_argument("--resolution", type=float, nargs="+", help="angstrom, one for all maps or one for each")
    evaluate.add_argument(
        "--reference", type=Path, help="prediction (.cif, .pdb, Boltz folder): baselines, and where samples lie in maps"
    )
    evaluate.add_argument(
        "--populations", nargs="+", metavar="SHARE", help="of states and maps in order, or a CSV of name,population"
    )
    evaluate.add_argument(
        "--core", nargs="+", metavar="[CHAIN:]FIRST-LAST", help="residues to superpose by (default: all atoms)"
    )
    evaluate.add_argument(
        "--normal-modes", type=int, default=16, metavar="N", help="samples of that baseline (default: %(default)s)"
    )
    evaluate.add_argument("--search", action="store_true", help="find the reference in each map; else it lies there")
    evaluate.add_argument("--processes", type=int, help="run at once (default: the CPUs there are)")
    evaluate.add_argument("--out", type=Path, required=True, help="folder to make")
    evaluate.set_defaults(run=evaluate_command)


def evaluate_command(given: argparse.Namespace) -> None:
    """Score, print the tables and write the files, or raise a CryoFoundError."""
    import tempfile
    from dataclasses import replace

    from rich.console import Console

    from cryofound.errors import StoreError
    from cryofound.evaluation.ensemble_maps import correlations_with_maps
    from cryofound.evaluation.ensemble_metrics import Frame, score_ensemble, target_state
    from cryofound.evaluation.ensemble_report import ensemble_metrics, map_table, state_table, write_ensemble_scores
    from cryofound.evaluation.sample_file import in_one_frame
    from cryofound.manifest import publishing

    if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
        raise StoreError(f"{given.out}: is there already and not empty; give a new folder")
    maps = target_maps(given)
    with tempfile.TemporaryDirectory(prefix="cryofound-evaluate-") as scratch:
        found, reference = ensembles(given, Path(scratch))
        found = in_one_frame(found, reference)
        model = found[0].model
        true = [(name, each) for text in given.states for name, each in named_states(text)]
        populations = shares(given.populations, [name for name, _ in true], [each.name for each in maps])
        states = [target_state(model, each, name, populations[name]) for name, each in true]
        maps = [replace(each, population=populations[each.name]) for each in maps]
        frame = Frame.of(model, core_residues(model, given.core) if given.core else None)
        scores = [score_ensemble(each, states, frame) for each in found]
        with resumable(given.out.with_name(given.out.name + ".cache")) as cache:
            with counting(sum(map(len, found)) * len(maps)) as advance:
                options = {"search": given.search, "processes": given.processes, "advance": advance}
                correlations = correlations_with_maps(found, maps, model, cache, **options)
            metrics = ensemble_metrics(scores, states, frame, maps, correlations)
            with publishing(given.out, resumable=False) as folder:
                write_ensemble_scores(folder, metrics, scores, states, frame, maps, correlations)
    console = Console(width=200, highlight=False)
    for table in (state_table(metrics), map_table(metrics)):
        if table is not None:
            console.print(table)
    print(f"out={given.out} samples={len(found[0])} residues={model.n_residues} atoms={model.n_atoms}")


def ensembles(given: argparse.Namespace, scratch: Path) -> tuple[list["Samples"], "AtomicModel"]:
    """The samples and the baselines, written in `scratch`, and the model in whose frame they are to lie."""
    from cryofound.errors import StructureError
    from cryofound.evaluation.baselines import normal_modes_ensemble, static_ensemble
    from cryofound.evaluation.sample_file import gather
    from cryofound.reference.reading import read_reference

    samples = gather("samples", (each for path in given.samples for each in conformations(path)), scratch / "samples")
    if given.reference is None:
        return [samples], samples.model
    if given.normal_modes < 0:
        raise StructureError(f"--normal-modes {given.normal_modes}: must be 0, for none, or more")
    prediction = read_reference(given.reference, samples="all")
    reference = prediction.best.atoms
    baselines = {"static": static_ensemble(reference)}
    if given.normal_modes:
        try:
            baselines["normal_modes"] = normal_modes_ensemble(reference, given.normal_modes)
        except StructureError as error:
            print(f"no normal modes: {error}")
    found = [
        gather(name, ((f"{name} {row}", reference.moved(each)) for row, each in enumerate(drawn, 1)), scratch / name)
        for name, drawn in baselines.items()
    ]
    if len(prediction.models) > 1:
        predicted = ((each.path.name, each.atoms) for each in prediction.models)
        found.append(gather(prediction.program, predicted, scratch / "predicted"))
    return [samples, *found], reference


def conformations(path: Path) -> Iterator[tuple[str, "AtomicModel"]]:
    """Every model of a file, of the structure files of a folder, or of what `cryofound sample` wrote, with its name."""
    from cryofound.commands.sample_files import ENSEMBLE
    from cryofound.errors import StructureError
    from cryofound.manifest import is_finished, read_manifest
    from cryofound.reference.boltz import is_boltz, read_boltz
    from cryofound.structure.conformations import CIF_SUFFIXES, PDB_SUFFIXES

    if not path.is_dir():
        yield from named_models(path)
    elif is_finished(path) and read_manifest(path, check=False).get("kind") == "samples":
        yield from named_models(path / ENSEMBLE)  # beside it lie the reference and motions
    elif is_boltz(path):
        for each in read_boltz(path, samples="all").models:
            yield each.path.stem, each.atoms
    else:
        files = [each for each in path.iterdir() if each.name.endswith(CIF_SUFFIXES + PDB_SUFFIXES)]
        if not files:
            raise StructureError(f"{path}: no samples: holds no structure file; give the .cif or .pdb files")
        for each in sorted(files, key=_natural):
            yield from named_models(each)


def named_states(text: str) -> Iterator[tuple[str, "AtomicModel"]]:
    """Every model of a state's file, with its name; `text` as of `file_and_chains`."""
    yield from named_models(*file_and_chains(text))


def file_and_chains(text: str) -> tuple[Path, list[str] | None]:
    """A path, or a path, a colon and chains with commas between them; None for all chains."""
    path, colon, chains = text.rpartition(":")
    return (Path(path), chains.split(",")) if colon and not Path(text).exists() else (Path(text), None)


def named_models(path: Path, chains: Sequence[str] | None = None) -> Iterator[tuple[str, "AtomicModel"]]:
    """Every model of a file by the file's name, with its number where there are several."""
    from cryofound.structure.conformations import read_conformations

    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    models = read_conformations(path, chains)
    first, second = next(models), next(models, None)
    if second is None:
        yield name, first
        return
    yield f"{name}#1", first
    yield f"{name}#2", second
    for number, each in enumerate(models, start=3):
        yield f"{name}#{number}", each


def target_maps(given: argparse.Namespace) -> list["TargetMap"]:
    """The maps with their resolutions; raises MapError where the two do not agree."""
    from cryofound.errors import MapError
    from cryofound.evaluation.ensemble_maps import TargetMap
    from cryofound.maps.mrc import read_map

    resolutions = given.resolution or []
    if len(resolutions) not in {1, len(given.maps)} or (resolutions and not given.maps):
        raise MapError(
            f"{len(given.maps)} maps and {len(resolutions)} resolutions; give --resolution for all maps or for each"
        )
    for each in resolutions:
        if each <= 0:
            raise MapError(f"a resolution of {each:g} A; give a positive number")
    each_has = resolutions * len(given.maps) if len(resolutions) == 1 else resolutions
    return [
        TargetMap(path.name.removesuffix(".gz").rsplit(".", 1)[0], read_map(path), resolution)
        for path, resolution in zip(given.maps, each_has, strict=True)
    ]


def shares(stated: Sequence[str] | None, states: Sequence[str], maps: Sequence[str]) -> Mapping[str, float]:
    """The population of each state and map by name, 1 where none is stated; raises RecipeError if they do not match."""
    from cryofound.errors import RecipeError

    for names, what in ((states, "states"), (maps, "maps")):
        if len(set(names)) < len(names):
            raise RecipeError(f"two of the {what} have the same name; copy one of them to another name")
    names = list(dict.fromkeys([*states, *maps]))
    if stated is None:
        return dict.fromkeys(names, 1.0)
    if len(stated) == 1 and Path(stated[0]).suffix == ".csv":
        told = _read_populations(Path(stated[0]))
        if set(told) != set(names):
            raise RecipeError(
                f"{stated[0]}: tells populations of {', '.join(told) or 'nothing'}; give those of {', '.join(names)}"
            )
    else:
        for each, what in ((states, "states"), (maps, "maps")):
            if each and len(each) != len(stated):
                raise RecipeError(
                    f"{len(each)} {what} and {len(stated)} populations; give one for each, in their order"
                )
        told = {name: _share(text) for each in (states, maps) for name, text in zip(each, stated, strict=False)}
    if sum(told.values()) <= 0:
        raise RecipeError("populations: all are zero; give at least one that is not")
    return told


def core_residues(model: "AtomicModel", ranges: Sequence[str]) -> "np.ndarray":
    """(residue,) bool: the residues that lie in the ranges, by chain and author number; raises RecipeError for none."""
    import numpy as np

    from cryofound.errors import RecipeError

    chosen = np.zeros(model.n_residues, dtype=bool)
    for text in ranges:
        match = CORE.fullmatch(text)
        if match is None:
            raise RecipeError(f"--core {text}: write it as FIRST-LAST or CHAIN:FIRST-LAST")
        inside = (model.residue_number >= int(match["first"])) & (model.residue_number <= int(match["last"]))
        if match["chain"] is not None:
            inside &= model.chain_id == match["chain"]
        if not inside.any():
            raise RecipeError(f"--core {text}: the samples have no residue there; number them as the reference does")
        chosen |= inside
    return chosen


def _read_populations(path: Path) -> dict[str, float]:
    import csv

    from cryofound.errors import RecipeError

    try:
        with path.open(newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); check --populations") from None
    if reader.fieldnames != POPULATIONS:
        raise RecipeError(f"{path}: its columns are {reader.fieldnames}; write {','.join(POPULATIONS)}")
    return {row["name"]: _share(row["population"]) for row in rows}


def _share(text: str) -> float:
    import math

    from cryofound.errors import RecipeError

    try:
        share = float(text)
    except (TypeError, ValueError):
        share = math.nan
    if not (math.isfinite(share) and share >= 0):
        raise RecipeError(f"population {text}: not a number of zero or more; give a CSV of {','.join(POPULATIONS)}")
    return share


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts sample_10 after sample_9."""
    return [(int(each), "") if each.isdecimal() else (0, each) for each in re.split(r"(\d+)", path.name)]


@contextmanager
def resumable(folder: Path) -> Iterator[Path]:
    """A folder for what is known so far: only if the block is stopped from outside is it left, for the next run."""
    import shutil

    from cryofound.errors import CryoFoundError

    try:
        yield folder
    except CryoFoundError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many fits are done; a bar on a terminal shows their sum."""
    from rich.console import Console
    from rich.progress import Progress

    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not (total and errors.is_terminal)) as progress:
        work = progress.add_task("fitting samples to maps", total=total)
        yield lambda done: progress.update(work, advance=done)
