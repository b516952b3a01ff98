"""What is built of a catalog entry: its reference, trimmed and laid into its maps, and its maps, as files."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from cryofound.building.models import BuildRequest, StateMap
from cryofound.building.placing import Placing, lay, move_all, write_reference
from cryofound.building.target import SAMPLING
from cryofound.catalog.entry import CatalogEntry, MapState, NormalModeState, Reference, SourceFile
from cryofound.catalog.loading import load_reference, load_state, load_structure, source_file
from cryofound.config import BuildConfig, GridConfig, digest
from cryofound.ensemble.checksums import FileChecksums
from cryofound.ensemble.simulation import simulate_map
from cryofound.manifest import PARTIAL, is_finished, publishing, read_manifest
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map
from cryofound.maps.preprocessing import preprocess
from cryofound.maps.resampling import resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.boltz import is_boltz, read_boltz
from cryofound.reference.canonical import family_frame, place_reference, place_state
from cryofound.reference.rigid_fit import window
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.files import open_numbered
from cryofound.structure.reading import FORCE_FIELD_RESIDUES

INPUTS = "inputs.json"
SCHEMA = 1
MARGIN = 12.0  # angstrom of a made map about all atoms
NEAR = 6.0  # angstrom from the chains that are built, within which a ligand belongs to them
NEED_MODEL = ("zone", "box", "normalise")  # preprocessing that needs the reference where it belongs
SPLINE_REACH = 24  # voxels; a cubic spline's memory of what lies beyond is 1e-14


def entry_identity(entry: CatalogEntry, cache: Path, placing: Placing) -> str:
    """A digest of all that decides the inputs of a build: what the entry says, its files' bytes, how it is placed.

    Fetches the files. Where they lie is no part of it: each submission of a job has its own copy of the working folder.
    """
    files = {f"{each.source}:{each.file or ''}": _file(entry, each, cache) for each in entry.files()}
    sums = FileChecksums(cache / "checksums.json").of(files.values())
    told = entry.model_dump(mode="json", exclude={"sources"})
    return digest("build-inputs", SCHEMA, told, {label: sums[path] for label, path in files.items()}, placing)


def make_inputs(
    entry: CatalogEntry,
    identity: str,
    folder: Path,
    cache: Path,
    placing: Placing,
    report: Callable[[str], None] = print,
) -> None:
    """Make the folder of an entry's inputs, which `read_inputs` reads, unless it is there with this identity.

    In it lies what is not used as its source has it. The reference keeps the chains and residues that the entry names,
    and near real maps' the ligands; it is brought into the maps as `lay` says, where undocked counts as always. Maps
    are preprocessed as the entry says; those with fitted models, each deposited in a frame of its own, come into the
    reference's; states given by atoms are drawn about it. Raises a CryoFoundError for whatever the user can mend.
    """
    if is_finished(folder) and _is_whole(folder, identity):
        return
    shutil.rmtree(folder.with_name(folder.name + PARTIAL), ignore_errors=True)
    path = _file(entry, entry.reference, cache)
    own = load_reference(entry, cache)
    free = [state for state in entry.states if isinstance(state, MapState) and state.fitted_model is None]
    laid = None
    if free:
        asked = "always" if placing == "auto" and entry.reference.placement == "undocked" else placing
        maps = _searched(entry, sorted(free, key=lambda each: each.split), cache)
        laid = lay(own, path.name, maps, asked, report)
    with publishing(folder, identity=identity) as aside:
        structure = open_numbered(path, entry.reference.model)
        trimmed = _trim(structure, own, carry=any(isinstance(state, MapState) for state in entry.states))
        reference = str(path)
        if laid:
            move_all(structure, laid.transform)
            own = own.moved(laid.transform.apply(own.positions_xyz))
        if trimmed or laid or entry.reference.model:
            reference = path.name.split(".")[0] + ".cif"
            write_reference(structure, aside / reference)
        told = {
            "system_id": entry.system_id,
            "source": str(path),
            "reference": reference,
            "prediction": _prediction(entry, path),
            "chains": list(dict.fromkeys(own.chain_id.tolist())),
            "registration": laid.facts if laid else None,
            "states": list(_states(entry, own, aside, cache)),
        }
        (aside / INPUTS).write_text(json.dumps(told, indent=1) + "\n")


def read_inputs(folder: Path, config: BuildConfig) -> BuildRequest:
    """The request that a folder of `make_inputs` stands for."""
    told = json.loads((folder / INPUTS).read_text())
    identity = read_manifest(folder, check="sizes")["identity"]
    origin = {"identity": identity, **{name: told[name] for name in ("system_id", "source", "registration")}}
    prediction = told["prediction"] and Path(told["prediction"])
    states = tuple(_state_map(folder, each) for each in told["states"])
    return BuildRequest(folder / told["reference"], states, config, tuple(told["chains"]), prediction, origin)


def _state_map(folder: Path, told: Mapping[str, Any]) -> StateMap:
    half_maps = told["half_maps"] and (folder / told["half_maps"][0], folder / told["half_maps"][1])
    mask = told["mask"] and folder / told["mask"]
    return StateMap(told["state_id"], folder / told["map"], told["resolution"], half_maps, mask)


def _is_whole(folder: Path, identity: str) -> bool:
    """Whether a finished folder is of this identity, and the files beside it that it names are there."""
    if read_manifest(folder, check="sizes")["identity"] != identity:
        return False
    request = read_inputs(folder, BuildConfig())
    files = [request.reference, *(state.path for state in request.states)]
    files += [file for state in request.states for file in (*(state.half_maps or ()), state.mask) if file]
    return all(file.exists() for file in files)


def _file(entry: CatalogEntry, place: SourceFile | Reference | MapState, cache: Path) -> Path:
    return source_file(entry, place.source, place.file, cache)


def _searched(entry: CatalogEntry, states: Sequence[MapState], cache: Path) -> Iterator[tuple[str, DensityMap, float]]:
    """Name, map and resolution of states, after those preprocessing steps that need no model."""
    steps = [step for step in entry.preprocessing if step.kind not in NEED_MODEL]
    for state in states:
        path = _file(entry, state, cache)
        yield path.name, preprocess(read_map(path), steps)[0], state.resolution


def _trim(structure: gemmi.Structure, own: AtomicModel, *, carry: bool) -> bool:
    """Take out, in place, protein that is not in `own`, and other molecules unless they are to be carried and are near.

    Whether anything went.
    """
    structure.setup_entities()
    kept = set(zip(own.chain_id.tolist(), own.residue_number.tolist(), strict=True))
    tree, gone = cKDTree(own.positions_xyz), False
    for chain in structure[0]:
        for row in reversed(range(len(chain))):
            residue = chain[row]
            if (chain.name.strip() or "A", residue.seqid.num) in kept or residue.is_water():
                continue
            near = np.isfinite(tree.query([atom.pos.tolist() for atom in residue], distance_upper_bound=NEAR)[0])
            if not carry or _is_protein(residue) or not near.any():
                del chain[row]
                gone = True
    return gone


def _is_protein(residue: gemmi.Residue) -> bool:
    kind = gemmi.find_tabulated_residue(FORCE_FIELD_RESIDUES.get(residue.name, residue.name))
    return residue.entity_type == gemmi.EntityType.Polymer and kind.is_amino_acid()


def _prediction(entry: CatalogEntry, path: Path) -> str | None:
    """Where the predictor tells of rigid domains: a Boltz folder if the reference is its best model, its own file."""
    if entry.reference.method in (None, "experiment"):
        return None
    if is_boltz(path.parent) and read_boltz(path.parent).best.path.name == path.name:
        return str(path.parent)
    return str(path)


def _states(entry: CatalogEntry, own: AtomicModel, folder: Path, cache: Path) -> Iterator[dict[str, Any]]:
    """What is said of each state, with paths inside `folder` for the maps that are made there."""
    models = _models(entry, own, cache)
    drawn = [state for state in entry.states if not isinstance(state, MapState)]
    finest = min((entry.simulation_of(state).resolution for state in drawn), default=0.0)
    everything = np.concatenate([own.positions_xyz, *(models[state.state_id][1].positions_xyz for state in drawn)])
    grid = _grid_about(everything, min(GridConfig().voxel_size, finest / SAMPLING)) if drawn else None
    (folder / "maps").mkdir(exist_ok=True)
    for state in entry.states:
        if isinstance(state, MapState):
            yield _measured(entry, state, own, models.get(state.state_id), folder, cache)
            continue
        assert grid is not None
        simulation, there = entry.simulation_of(state), models[state.state_id][1]
        density = simulate_map(there, grid, simulation, f"{entry.system_id} {state.state_id}")
        name = f"maps/{state.state_id}.mrc"
        write_map(folder / name, DensityMap(density, grid))
        yield _told(state.state_id, simulation.resolution, {"map": name})


def _models(entry: CatalogEntry, own: AtomicModel, cache: Path) -> dict[str, tuple[AtomicModel, AtomicModel]]:
    """The model of each state that has one: as it lies in its file, and superposed on the reference by the core."""
    found: dict[str, AtomicModel] = {}
    for state in entry.states:
        chosen = state.fitted_model if isinstance(state, MapState) else None
        model = load_structure(entry, chosen, own, cache) if chosen else load_state(entry, state, own, cache)
        if model is not None:
            found[state.state_id] = model
    bent = {state.state_id for state in entry.states if isinstance(state, NormalModeState)}  # they lie there already
    if not set(found) - bent:
        return {name: (model, model) for name, model in found.items()}
    seen = [state.state_id for state in entry.states if state.split == "train"]
    placement = place_reference(own, family_frame(own, [found[name] for name in seen if name in set(found) - bent]))
    back = placement.transform.inverse()
    placed = {}
    for name, model in found.items():
        there = model if name in bent else place_state(model, placement)[0]
        placed[name] = (model, there if name in bent else there.moved(back.apply(there.positions_xyz)))
    return placed


def _measured(
    entry: CatalogEntry,
    state: MapState,
    own: AtomicModel,
    fitted: tuple[AtomicModel, AtomicModel] | None,
    folder: Path,
    cache: Path,
) -> dict[str, Any]:
    """A measured state, with its half maps and its mask, which lies on the map's grid whatever became of that."""
    places = dict(zip(("map", "half1", "half2"), (state, *(state.half_maps or ())), strict=False))
    mask = state.mask or entry.mask
    files = {name: _file(entry, place, cache) for name, place in (places | ({"mask": mask} if mask else {})).items()}
    if fitted is None and not entry.preprocessing:
        return _told(state.state_id, state.resolution, {name: str(path) for name, path in files.items()})
    model, placed = fitted or (own, own)
    transform = superpose(model.positions_xyz, placed.positions_xyz) if fitted else RigidTransform.identity()
    made: dict[str, str] = {}
    grid: Grid | None = None
    for name, path in files.items():
        density = read_map(path)
        if name != "mask":
            density, _ = preprocess(density, entry.preprocessing, model.positions_xyz)
        if fitted or name == "mask":
            both = np.concatenate([own.positions_xyz, placed.positions_xyz])
            density = _moved(density, grid or _grid_about(both, density.grid.voxel_size), transform)
        if name == "map":
            grid = density.grid
        made[name] = f"maps/{state.state_id}{'' if name == 'map' else '-' + name}.mrc"
        write_map(folder / made[name], density)
    return _told(state.state_id, state.resolution, made)


def _told(state_id: str, resolution: float, files: Mapping[str, str]) -> dict[str, Any]:
    half_maps = [files[name] for name in ("half1", "half2") if name in files]
    return {
        "state_id": state_id,
        "resolution": resolution,
        "map": files["map"],
        "half_maps": half_maps or None,
        "mask": files.get("mask"),
    }


def _grid_about(positions_xyz: np.ndarray, voxel_size: float) -> Grid:
    """The grid that holds positions (atom, 3) with a margin."""
    low, high = positions_xyz.min(0) - MARGIN, positions_xyz.max(0) + MARGIN
    length, height, depth = (np.ceil((high - low) / voxel_size).astype(int) + 1).tolist()
    x, y, z = low.tolist()
    return Grid((depth, height, length), voxel_size, (x, y, z))


def _moved(density: DensityMap, grid: Grid, transform: RigidTransform) -> DensityMap:
    """The map moved and read on a grid, by way of the part of it that decides the values there."""
    edges = grid.voxel_size * (np.array(grid.shape_zyx[::-1]) - 1)
    corners = grid.origin_xyz + edges * np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    near = window(density, transform.inverse().apply(corners), SPLINE_REACH * density.grid.voxel_size)
    return DensityMap(resample(near, grid, transform), grid)
