"""Models built into real maps and into series made from real states, from references that must move.

    python -m benchmarks real-maps [--cases kinesin,adk]

Every case has the same settings (`BuildConfig`). References: crystal structures laid into the map (kinesin, tubulin),
deposited models bent along their lowest normal mode (pneumolysin, haemoglobin) or shaken (these and VP6), and one state
of several whose maps are simulated at 4 A with noise. Positions are compared where the truth is known, in the map's
frame.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import gemmi
import numpy as np

from benchmarks.physics import shared_data
from cryofound.building.deposit import read_reference_file, write_models
from cryofound.building.models import BuildRequest, StateMap, build_models
from cryofound.catalog.entry import Simulation, load_entry
from cryofound.catalog.loading import source_file
from cryofound.config import BuildConfig
from cryofound.ensemble.simulation import simulate_map
from cryofound.errors import SourceError
from cryofound.evaluation.model_scores import score_models
from cryofound.evaluation.monomer_library import validation_library
from cryofound.evaluation.scored_model import read_scored_models
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.matching import matched_residues
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import read_complex, read_model, read_trajectory_frame

ROOT = Path(__file__).resolve().parents[1]
AWAY = 3.0  # angstrom that a deposited model is bent
SHAKE = 0.3  # angstrom along each axis
NOISE = 0.1  # of a simulated map, as in the catalog
SIMULATED, VOXEL = 4.0, 1.3  # angstrom
PATH_FRAMES = (18, 38, 58, 78, 97)
SERCA_STATES = ("1xp5", "2c88", "3ar9", "5ncq")
# Residues, first to last, of the actuator, nucleotide, phosphorylation and membrane domains (Toyoshima et al. 2000,
# doi:10.1038/35015017).
SERCA_DOMAINS = {
    "actuator": ((1, 43), (124, 239)),
    "nucleotide": ((360, 604),),
    "phosphorylation": ((314, 359), (605, 738)),
    "membrane": ((44, 123), (240, 313), (739, 994)),
}

REAL = ("kinesin", "tubulin", "pneumolysin", "haemoglobin", "pneumolysin-shaken", "haemoglobin-shaken", "vp6")
LIMITS = {
    **{f"{case}_free_gap": 0.02 for case in REAL},
    "adk_rmsd": 0.6,
    "serca_domain_motion": 1.5,
    "trpv1_rmsd": 0.4,
    "adk_seconds": 600.0,
    "worst_rama_outliers": 0.5,
    "worst_rota_outliers": 1.5,
    "worst_clashscore": 6.0,
    "worst_molprobity": 1.6,
}
FLOORS = {"kinesin_cc_mask_over_refined": 0.98, "tubulin_cc_mask_over_refined": 0.98}
WORST = ("rama_outliers", "rota_outliers", "clashscore", "molprobity")


@dataclass(frozen=True)
class Case:
    """What is built: a reference file, the maps, the refined model of a real map, the true models of simulated ones.

    domains: of the reference, name to its residues' numbers, first and last of each stretch.
    """

    reference: Path
    states: tuple[StateMap, ...]
    refined: Path | None = None
    truths: tuple[AtomicModel, ...] = ()
    domains: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)


def measure(work: Path, cases: Sequence[str] = ()) -> dict[str, float]:
    """Figures of the named cases, by default all; what was built lies in `work` afterwards."""
    data = shared_data()
    found: dict[str, float] = {}
    for name in cases or CASES:
        if name not in CASES:
            raise SourceError(f"no case {name}; there are {', '.join(CASES)}")
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found |= {f"{name}_{what}": value for what, value in _measured(CASES[name](data, folder), folder).items()}
        (work / "so-far.json").write_text(json.dumps(found, indent=1))
    for what in WORST:
        found[f"worst_{what}"] = max(found[f"{name}_{what}"] for name in cases or CASES)
    return found


def _measured(case: Case, folder: Path) -> dict[str, float]:
    began = time.monotonic()
    outcome = build_models(BuildRequest(case.reference, case.states, BuildConfig()), folder / "models")
    found = {"seconds": time.monotonic() - began}
    metrics = [score.metrics() for score in outcome.scores.values()]
    found["cc_mask"] = float(np.mean([each["cc_mask"] for each in metrics]))
    found["cc_mask_one_b"] = float(np.mean([each["cc_mask_one_b"] for each in metrics if "cc_mask_one_b" in each]))
    found["q_score"] = float(np.mean([each["q_score"] for each in metrics]))
    found["free_gap"] = max(fit.gap for fit in outcome.free.values())
    for ours, theirs in zip(WORST, ("rama_outliers", "rota_outliers", "clashscore", "molprobity"), strict=True):
        found[ours] = max(each[theirs] for each in metrics)
    if case.refined is not None:
        state = case.states[0]
        pair = (read_scored_models(case.refined)[0], read_map(state.path))
        start = (read_scored_models(case.reference)[0], read_map(state.path))
        scores = score_models([pair, start], [state.resolution] * 2, validation_library())
        refined, before = (each.metrics() for each in scores)
        found |= {f"refined_{name}": refined[name] for name in ("cc_mask", "q_score", *WORST)}
        found |= {f"start_{name}": before[name] for name in ("cc_mask", "q_score", *WORST)}
        found["cc_mask_over_refined"] = found["cc_mask"] / refined["cc_mask"]
    if case.truths:
        built = [read_complex(folder / "models" / f"{state.state_id}.cif") for state in case.states]
        rmsd = [_rmsd(model, truth) for model, truth in zip(built, case.truths, strict=True)]
        reference = read_complex(case.reference)
        found |= {"rmsd": max(rmsd), "rmsd_mean": float(np.mean(rmsd))}
        found["static_rmsd"] = max(_rmsd(reference, truth) for truth in case.truths)
        found |= {f"rmsd_{state.state_id}": value for state, value in zip(case.states, rmsd, strict=True)}
        motions = [_off_motions(case, reference, *pair) for pair in zip(built, case.truths, strict=True)]
        found |= {f"{name}_motion": max(each[name] for each in motions) for name in case.domains}
        if case.domains:
            found["domain_motion"] = max(max(each.values()) for each in motions)
    print(json.dumps(found), flush=True)
    return found


def _rmsd(model: AtomicModel, truth: AtomicModel) -> float:
    """Angstrom over the heavy atoms that both have, where they lie."""
    pairs = matched_residues(model, truth)
    place = {
        (int(residue), int(name)): row
        for row, (residue, name) in enumerate(zip(truth.residue_index, truth.atom_name, strict=True))
    }
    partner = dict(pairs.tolist())
    rows = [
        (row, place[key])
        for row, (residue, name) in enumerate(zip(model.residue_index, model.atom_name, strict=True))
        if (key := (partner.get(int(residue), -1), int(name))) in place
    ]
    mine, theirs = np.array(rows).T
    return float(np.sqrt(((model.positions_xyz[mine] - truth.positions_xyz[theirs]) ** 2).sum(-1).mean()))


def _off_motions(case: Case, reference: AtomicModel, built: AtomicModel, truth: AtomicModel) -> dict[str, float]:
    """Name of a domain to angstrom RMS over its CA: how far its rigid motion in the built model is from the true one.

    A domain's motion is the superposition of the reference's CA on a model's.
    """
    mine, theirs = matched_residues(reference, built), matched_residues(reference, truth)
    rows, of_built, of_truth = np.intersect1d(mine[:, 0], theirs[:, 0], assume_unique=True, return_indices=True)
    start = reference.ca_xyz()[rows]
    ends = built.ca_xyz()[mine[of_built, 1]], truth.ca_xyz()[theirs[of_truth, 1]]
    number, off = np.asarray(reference.residue_number)[rows], {}
    for name, stretches in case.domains.items():
        own = np.any([(first <= number) & (number <= last) for first, last in stretches], axis=0)
        there = [superpose(start[own], end[own]).apply(start[own]) for end in ends]
        off[name] = float(np.sqrt(((there[0] - there[1]) ** 2).sum(-1).mean()))
    return off


def _real(map_file: str, reference: str, refined: str, resolution: float) -> Callable[[Path, Path], Case]:
    def make(data: Path, folder: Path) -> Case:
        maps = data / "maps"
        return Case(maps / reference, (StateMap("state", maps / map_file, resolution),), maps / refined)

    return make


def _away(map_file: str, deposited: str, resolution: float, bent: float | None) -> Callable[[Path, Path], Case]:
    """The deposited model bent along its lowest mode by `bent` angstrom, or shaken, is the reference."""

    def make(data: Path, folder: Path) -> Case:
        file = read_reference_file(data / "maps" / deposited)
        if bent is None:
            noise = np.random.default_rng(0).normal(scale=SHAKE, size=file.model.positions_xyz.shape)
            positions = file.model.positions_xyz + noise
        else:
            positions = mode_states(file.model, 1, bent)[0]
            # modes are those of the model at rest in space; it stays where it was docked
            positions = superpose(positions, file.model.positions_xyz).apply(positions)
        pieces = file.passengers().positions_xyz
        write_models(folder / "reference.cif", file, [file.placed(positions, pieces)], "moved")
        state = StateMap("state", data / "maps" / map_file, resolution)
        return Case(folder / "reference.cif", (state,), data / "maps" / deposited)

    return make


def _simulated(folder: Path, reference: Path, truths: Mapping[str, AtomicModel]) -> Case:
    """Maps of the truths on one grid that holds them and the reference."""
    model = read_complex(reference)
    everything = np.concatenate([model.positions_xyz, *(each.positions_xyz for each in truths.values())])
    low, high = everything.min(0) - 12.0, everything.max(0) + 12.0
    shape = tuple(int(np.ceil(edge / VOXEL)) for edge in (high - low)[::-1])
    grid = Grid((shape[0], shape[1], shape[2]), VOXEL, (float(low[0]), float(low[1]), float(low[2])))
    simulation = Simulation(resolution=SIMULATED, noise=NOISE)
    states = []
    for name, truth in truths.items():
        write_map(folder / f"{name}.mrc", DensityMap(simulate_map(truth, grid, simulation, name), grid))
        states.append(StateMap(name, folder / f"{name}.mrc", SIMULATED))
    return Case(reference, tuple(states), truths=tuple(truths.values()))


def _on(model: AtomicModel, fixed: AtomicModel) -> AtomicModel:
    """The model superposed on another by the CA atoms of the residues that match."""
    pairs = matched_residues(model, fixed)
    transform = superpose(model.ca_xyz()[pairs[:, 0]], fixed.ca_xyz()[pairs[:, 1]])
    return model.moved(transform.apply(model.positions_xyz))


def _adk(data: Path, folder: Path) -> Case:
    entry = load_entry(ROOT / "configs" / "catalog" / "adk.yaml")
    package = "MDAnalysisTests/data"
    reference, path = (
        source_file(entry, "mdanalysis", f"{package}/{name}", folder.parent / "cache")
        for name in ("adk_closed.pdb", "adk_dims.dcd")
    )
    closed = read_model(reference)
    truths = {f"frame_{frame}": read_trajectory_frame(path, reference, frame) for frame in PATH_FRAMES}
    return _simulated(folder, reference, {name: _on(truth, closed) for name, truth in truths.items()})


def _serca(data: Path, folder: Path) -> Case:
    place = data / "families" / "serca"
    reference = _chain(place / "1t5s_final.cif.gz", "A", folder / "1t5s.cif")
    closed = read_complex(reference)
    truths = {name: read_model(place / f"{name}_final.cif.gz", "A") for name in SERCA_STATES}
    case = _simulated(folder, reference, {name: _on(truth, closed) for name, truth in truths.items()})
    return replace(case, domains=SERCA_DOMAINS)


def _trpv1(data: Path, folder: Path) -> Case:
    place = data / "families" / "trp_channel"
    first, second = (read_complex(place / f"{name}.cif.gz") for name in ("7l2i", "7l2j"))
    return _simulated(folder, place / "7l2i.cif.gz", {"7l2j": _on(second, first)})


def _chain(path: Path, chain: str, out: Path) -> Path:
    """One chain of a file as a file of its own."""
    structure = gemmi.read_structure(str(path))
    for name in [each.name for each in structure[0] if each.name != chain]:
        structure[0].remove_chain(name)
    structure.make_mmcif_document().write_file(str(out))
    return out


BOX = "box_3j8x"
PNEUMOLYSIN = ("box_5ly6/5ly6_box.ccp4", "box_5ly6/5ly6_box_complete.pdb.gz", 4.5)
HAEMOGLOBIN = ("emd3488_5ni1/emd_3488.mrc", "emd3488_5ni1/5ni1_updated.cif.gz", 3.2)
CASES: Mapping[str, Callable[[Path, Path], Case]] = {
    "kinesin": _real(
        f"{BOX}/chain_K_box.ccp4", f"{BOX}/1bg2_K_fitted.pdb.gz", f"{BOX}/chain_K_box_complete.pdb.gz", 5.0
    ),
    "tubulin": _real(
        f"{BOX}/chain_A_box.ccp4", f"{BOX}/5iyz_A_fitted.pdb.gz", f"{BOX}/chain_A_box_complete.pdb.gz", 5.0
    ),
    "pneumolysin": _away(*PNEUMOLYSIN, AWAY),
    "haemoglobin": _away(*HAEMOGLOBIN, AWAY),
    "pneumolysin-shaken": _away(*PNEUMOLYSIN, None),
    "haemoglobin-shaken": _away(*HAEMOGLOBIN, None),
    "vp6": _away("box_emd6272/6272.mrc", "box_emd6272/6272.pdb.gz", 2.6, None),
    "adk": _adk,
    "serca": _serca,
    "trpv1": _trpv1,
}
