"""From a reference and a map series to models on disk: fitted, scored, and written as their users need them."""

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from cryofound.building.deposit import ReferenceFile, read_reference_file, write_models
from cryofound.building.fitting import Subject, subject
from cryofound.building.morph import morph
from cryofound.building.series import REFERENCE, Built, FreeFit, beginnings, build_series, free_fit, half_map_fit
from cryofound.building.starts import read_starts
from cryofound.building.target import Target, make_target
from cryofound.config import BuildConfig
from cryofound.errors import MapError, SourceError, StructureError
from cryofound.evaluation.map_model import require_cover
from cryofound.evaluation.model_scores import ModelScore, score_models, write_model_scores
from cryofound.evaluation.monomer_library import validation_library
from cryofound.evaluation.scored_model import ScoredModel, read_scored_models
from cryofound.manifest import PARTIAL, file_sha256, publishing
from cryofound.maps.density_map import DensityMap
from cryofound.maps.mrc import read_map
from cryofound.reference.domains import NO_DOMAIN
from cryofound.reference.prediction import Prediction
from cryofound.reference.reading import read_reference
from cryofound.report.build_page import write_build_report
from cryofound.report.figures import PALETTE
from cryofound.revision import git_revision
from cryofound.structure.atomic_model import AtomicModel

WIDEST_GAP = 0.02
NO_DENSITY = 0.3  # correlation of a residue with its map below which nothing is said to be there


@dataclass(frozen=True)
class StateMap:
    """One map of the series with its resolution in angstrom; half_maps: the two it was averaged from, if at hand."""

    state_id: str
    path: Path
    resolution: float
    half_maps: tuple[Path, Path] | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class BuildRequest:
    """What is asked for: reference is a structure file or a prediction's folder; chains None means all proteins.

    prediction: where a predictor tells of rigid domains, if the reference is a moved or trimmed copy of its file;
    starts: files of further models to begin from.
    origin: what the manifest is to say of where the request came from.
    """

    reference: Path
    states: tuple[StateMap, ...]
    config: BuildConfig
    chains: tuple[str, ...] | None = None
    prediction: Path | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    starts: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """States by their names: models, free fits (empty where none was asked for) and scores; warnings in plain words."""

    folder: Path
    built: Mapping[str, Built]
    free: Mapping[str, FreeFit]
    scores: Mapping[str, ModelScore]
    warnings: tuple[str, ...]


def build_models(request: BuildRequest, out: Path, report: Callable[[str], None] = print) -> Outcome:
    """Build a model for every map and write the folder `out`, which appears whole or not at all.

    In it: <state>.cif, models.cif (all), morph.cif (from each to the next), scores.json, residues.csv, fsc.csv,
    displacements.csv, open.cxc for ChimeraX, warnings.txt, report.html, manifest.json. All lies in the frame of the
    maps, where the reference must lie roughly as well. Raises a CryoFoundError with one line for whatever the user can
    mend.
    """
    if out.exists():
        raise StructureError(f"{out}: exists already; name another folder, or delete it")
    _check_names(request.states)
    prediction = read_reference(request.prediction or request.reference)
    file = read_reference_file(request.reference if request.prediction else prediction.best.path, request.chains)
    maps = {state.state_id: read_map(state.path) for state in request.states}
    targets = {state.state_id: _target(state, maps[state.state_id]) for state in request.states}
    for state in request.states:
        _require_cover(file, state, maps[state.state_id])
    starts = read_starts(request.starts, file.model)
    what = subject(file.model, request.config, _domain(prediction, file.model), file.passengers())
    report(f"reference={file.path} residues={file.model.n_residues} carried={len(file.pieces)} states={len(targets)}")
    names = list(targets)
    series = build_series(what, list(targets.values()), request.config, starts, report)
    built = dict(zip(names, series, strict=True))
    free = _free(request, what, targets, built, starts, report) if request.config.free_share else {}
    facts = {
        "kind": "models",
        "origin": dict(request.origin),
        "reference": {"path": str(file.path), "sha256": file_sha256(file.path)},
        "maps": {state.state_id: file_sha256(state.path) for state in request.states},
        "recipe": request.config.model_dump(mode="json"),
        "revision": git_revision(Path(__file__).resolve().parents[2]),
        "free": {name: asdict(fit) for name, fit in free.items()},
        "built_from": {name: _source(each.came_from, names) for name, each in built.items()},
    }
    shutil.rmtree(out.with_name(out.name + PARTIAL), ignore_errors=True)  # another build's, that was stopped
    with publishing(out, **facts) as folder:
        scores = _scored(file, what, request.states, built, maps, folder)
        warnings = (*_doubts(file), *_warnings(free, scores))
        _write_all(folder, file, what, request.states, built, scores, warnings)
        write_build_report(folder, maps, facts)
    for told in warnings:
        report(f"warning: {told}")
    return Outcome(out, built, free, scores, warnings)


def _source(number: int, names: Sequence[str]) -> str:
    if number >= 0:
        return names[number]
    return "reference" if number == REFERENCE else f"start {REFERENCE - number}"


def _check_names(states: Sequence[StateMap]) -> None:
    names = [state.state_id for state in states]
    twice = [name for name in names if names.count(name) > 1]
    if not states or twice:
        raise MapError(f"two maps are named {twice[0]}; rename one of the files" if twice else "no map is given")


def _domain(prediction: Prediction, model: AtomicModel) -> np.ndarray | None:
    """(residue,) rigid domain of each residue of a model by chain and number, NO_DOMAIN where none is known."""
    known, atoms = prediction.domains(), prediction.best.atoms
    if known is None:
        return None
    keys = zip(atoms.chain_id.tolist(), atoms.residue_number.tolist(), strict=True)
    domain = dict(zip(keys, known.tolist(), strict=True))
    asked = zip(model.chain_id.tolist(), model.residue_number.tolist(), strict=True)
    return np.array([domain.get(key, NO_DOMAIN) for key in asked])


def _target(state: StateMap, density: DensityMap) -> Target:
    mask = None if state.mask is None else read_map(state.mask).values_zyx
    try:
        return make_target(density, state.resolution, mask)
    except MapError as error:
        raise MapError(f"{state.path}: {error}") from None


def _require_cover(file: ReferenceFile, state: StateMap, density: DensityMap) -> None:
    try:
        require_cover(density, ScoredModel(file.path.name, file.path, file.structure))
    except StructureError as error:
        raise StructureError(f"{state.path.name}: {error}") from None


def _free(
    request: BuildRequest,
    what: Subject,
    targets: Mapping[str, Target],
    built: Mapping[str, Built],
    starts: Sequence[np.ndarray],
    report: Callable[[str], None],
) -> dict[str, FreeFit]:
    found = {}
    models = beginnings(what, starts) | {number: each.positions_xyz for number, each in enumerate(built.values())}
    for state in request.states:
        name = state.state_id
        start = models[built[name].came_from]
        if state.half_maps is None:
            found[name] = free_fit(what, targets[name], request.config, built[name], start)
        else:
            first, second = (_target(state, read_map(half)) for half in state.half_maps)
            found[name] = half_map_fit(what, (first, second), request.config, built[name], start)
        report(f"state={name} seen={found[name].seen:.4f} free={found[name].free:.4f}")
    return found


def _scored(
    file: ReferenceFile,
    what: Subject,
    states: Sequence[StateMap],
    built: Mapping[str, Built],
    maps: Mapping[str, DensityMap],
    folder: Path,
) -> dict[str, ModelScore]:
    try:
        library = validation_library()
    except SourceError:
        library = None
    pairs = []
    for state in states:  # written without B-factors first: should scoring fail, the models are there
        path = folder / f"{state.state_id}.cif"
        write_models(path, file, [_model(file, what, built[state.state_id])], state.state_id)
        pairs.append((read_scored_models(path)[0], maps[state.state_id]))
    found = score_models(pairs, [state.resolution for state in states], library)
    write_model_scores(folder, found)
    return {state.state_id: score for state, score in zip(states, found, strict=True)}


def _model(file: ReferenceFile, what: Subject, state: Built, b_factor: np.ndarray | None = None) -> gemmi.Model:
    pieces = what.passengers.with_model(what.reference.positions_xyz, state.positions_xyz)
    return file.placed(state.positions_xyz, pieces, b_factor)


def _doubts(file: ReferenceFile) -> list[str]:
    return [f"{file.path.name}: {told} are not in the models" for told in file.left_out]


def _warnings(free: Mapping[str, FreeFit], scores: Mapping[str, ModelScore]) -> list[str]:
    told = []
    for name, fit in free.items():
        if fit.gap > WIDEST_GAP:
            told.append(
                f"{name}: voxels that the model was built into correlate {fit.seen:.3f} with it, {fit.free:.3f} with "
                "one built without them: it may follow noise"
            )
    for name, score in scores.items():
        empty = [each for each, cc in score.fit.cc_residue.items() if cc < NO_DENSITY]
        if empty:
            listed = ", ".join(f"{each.chain}/{each.number}" for each in empty[:8])
            more = f" and {len(empty) - 8} more" if len(empty) > 8 else ""
            told.append(f"{name}: no density for residues {listed}{more}; their place is that of their neighbours")
        if score.clash is None:
            told.append(f"{name}: no clashscore and rotamers; run `cryofound reference-data fetch` and score again")
    return told


def _write_all(
    folder: Path,
    file: ReferenceFile,
    what: Subject,
    states: Sequence[StateMap],
    built: Mapping[str, Built],
    scores: Mapping[str, ModelScore],
    warnings: Sequence[str],
) -> None:
    models = []
    for state in states:
        name = state.state_id
        models.append(_model(file, what, built[name], scores[name].fit.b_factor))
        write_models(folder / f"{name}.cif", file, models[-1:], f"{name} built by CryoFound from {file.path.name}")
    write_models(folder / "models.cif", file, models, f"{len(models)} states built by CryoFound")
    if len(states) > 1:
        path = morph([built[state.state_id].positions_xyz for state in states], what)
        frames = [_model(file, what, Built(xyz, REFERENCE, 0.0)) for xyz in path]
        write_models(folder / "morph.cif", file, frames, "path through the states in their order")
    _write_displacements(folder / "displacements.csv", file, built)
    (folder / "open.cxc").write_text(chimerax_script(states))
    (folder / "warnings.txt").write_text("".join(f"{line}\n" for line in warnings))


def _write_displacements(path: Path, file: ReferenceFile, built: Mapping[str, Built]) -> None:
    model = file.model
    ca = model.backbone_index()[:, 1]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("state", "chain", "number", "ca_displacement"))
        for name, each in built.items():
            moves = np.linalg.norm(each.positions_xyz[ca] - model.positions_xyz[ca], axis=1)
            for chain, number, move in zip(model.chain_id, model.residue_number, moves, strict=True):
                writer.writerow((name, chain, number, f"{move:.3f}"))


def chimerax_script(states: Sequence[StateMap]) -> str:
    """Commands that open every state's model on its map, and the morph; maps by their own paths."""
    lines = ["# open with: chimerax open.cxc"]
    for number, state in enumerate(states, start=1):
        colour = PALETTE[(number - 1) % len(PALETTE)]
        lines += [
            f'open "{state.state_id}.cif" id {2 * number - 1}',
            f'open "{state.path.resolve()}" id {2 * number}',
            f"color #{2 * number - 1} {colour}",
            f"volume #{2 * number} color {colour}80",
        ]
    if len(states) > 1:
        number = 2 * len(states) + 1
        lines += [f"open morph.cif id {number} coordset true", f"hide #{number} models"]
    return "\n".join([*lines, "cartoon", "view", ""])
