"""What the 3D viewer of a page draws, packed: atoms once, positions for every state and frame of a path, densities."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import biotite.structure as struc
import numpy as np

from cryofound.evaluation.scored_model import ScoredModel
from cryofound.report.densities import PageDensity

FINEST_STEP = 0.01  # angstrom, of stored positions
STATES_BUDGET = 3_000_000  # of all states' positions; side chains are left out beyond
PATH_BUDGET = 1_500_000  # of all frames' positions; frames are left out beyond
BACKBONE = ("N", "CA", "C", "O")
RIBBON = ("CA", "O")  # what a ribbon is drawn from
SSE = {"a": "h", "b": "s", "c": "c", "": "c"}  # biotite's letters for helix, strand and coil, 3Dmol's


@dataclass(frozen=True)
class ViewerData:
    """`drawn` goes into the page as JSON; left_out says in plain words what the page does not hold of its input."""

    drawn: dict[str, Any]
    left_out: tuple[str, ...]


def viewer_data(
    first: ScoredModel,
    states_xyz: Sequence[np.ndarray],
    densities: Sequence[PageDensity | None],
    path_xyz: np.ndarray | None,
    states_budget: int = STATES_BUDGET,
    path_budget: int = PATH_BUDGET,
    beside_xyz: np.ndarray | None = None,
) -> ViewerData:
    """States (atom, 3) of the first one's atoms in the order of a slider with their densities, and a path through them.

    path_xyz (frame, atom, 3) runs from the first to the last state at an even pace; beside_xyz (atom, 3) is one more
    conformation that can be shown beside them. Budgets are in bytes before compression.
    """
    names = [each.atom.name for each in first.structure[0].all()]
    kinds = _kinds(first, names)
    kind_of_atom = np.array(kinds)[first.residue_index]
    left_out = []
    rows = np.arange(len(names))
    if 6 * len(rows) * len(states_xyz) > states_budget:
        rows = _kept(rows, names, kind_of_atom, BACKBONE)
        left_out.append("side chains: the models are too many and too large for one page, so only backbones are drawn")
    centre = np.mean([each.mean(0) for each in states_xyz], axis=0)
    reach = max(float(np.abs(each - centre).max()) for each in states_xyz)
    others = [each for each in (path_xyz, beside_xyz) if each is not None]
    reach = max(reach, *(float(np.abs(each - centre).max()) for each in others)) if others else reach
    step = max(FINEST_STEP, reach / 32000)
    table = sorted(set(names))
    elements = [each.atom.element.name for each in first.structure[0].all()]
    symbols = sorted(set(elements))
    chains = list(dict.fromkeys(residue.chain for residue in first.residues))
    drawn: dict[str, Any] = {
        "centre": [round(float(each), 3) for each in centre],
        "step": step,
        "residues": {
            "label": [_label(residue.chain, residue) for residue in first.residues],
            "chain": [chains.index(residue.chain) for residue in first.residues],
            "kind": "".join(kinds),
        },
        "chains": chains,
        "names": table,
        "elements": symbols,
        "atom_name": packed(np.array([table.index(names[row]) for row in rows], dtype="<u2")),
        "atom_element": packed(np.array([symbols.index(elements[row]) for row in rows], dtype="<u2")),
        "atom_residue": packed(first.residue_index[rows].astype("<i4")),
        "states": [
            {
                "positions": packed(_quantised(each[rows], centre, step)),
                "strands": _secondary_structure(first, each, names, kinds),
                "density": None if density is None else _drawn_density(density),
            }
            for each, density in zip(states_xyz, densities, strict=True)
        ],
        "path": None,
        "beside": None,
    }
    ribbon = _kept(rows, names, kind_of_atom, RIBBON)
    if others:
        drawn["ribbon"] = packed(np.searchsorted(rows, ribbon).astype("<i4"))
    if beside_xyz is not None:
        drawn["beside"] = {
            "positions": packed(_quantised(beside_xyz[ribbon], centre, step)),
            "strands": _secondary_structure(first, beside_xyz, names, kinds),
        }
    if path_xyz is not None:
        n_frames = len(path_xyz)
        count = min(n_frames, max(2, path_budget // (6 * len(ribbon))))
        frames = np.unique(np.linspace(0, n_frames - 1, count).round().astype(int))
        if len(frames) < n_frames:
            left_out.append(f"frames of the path: {len(frames)} of {n_frames} are drawn")
        drawn["path"] = {
            "positions": packed(_quantised(path_xyz[frames][:, ribbon], centre, step)),
            "place": [round(float(frame) * (len(states_xyz) - 1) / max(n_frames - 1, 1), 4) for frame in frames],
        }
    return ViewerData(drawn, tuple(left_out))


def packed(values: np.ndarray) -> str:
    """An array's bytes, compressed, as text; the same text for the same values."""
    return base64.b64encode(gzip.compress(np.ascontiguousarray(values).tobytes(), mtime=0)).decode()


def _quantised(positions_xyz: np.ndarray, centre: np.ndarray, step: float) -> np.ndarray:
    return np.round((positions_xyz - centre) / step).astype("<i2")


def _label(chain: str, residue: Any) -> str:
    return f"{chain}/{residue.number}{residue.insertion} {residue.name}"


def _kinds(model: ScoredModel, names: Sequence[str]) -> list[str]:
    """For each residue p (protein), n (nucleic acid) or l (ligand): whether it is drawn as a ribbon or by its atoms."""
    atoms: list[set[str]] = [set() for _ in model.residues]
    for name, residue in zip(names, model.residue_index.tolist(), strict=True):
        atoms[residue].add(name)
    return ["p" if {"N", "CA", "C"} <= each else "n" if {"C1'", "C3'"} <= each else "l" for each in atoms]


def _kept(rows: np.ndarray, names: Sequence[str], kind: np.ndarray, protein: tuple[str, ...]) -> np.ndarray:
    """Of the rows those that are not protein's, and of protein the named atoms."""
    return rows[[kind[row] != "p" or names[row] in protein for row in rows]]


def _secondary_structure(
    model: ScoredModel, positions_xyz: np.ndarray, names: Sequence[str], kinds: Sequence[str]
) -> str:
    """h, s or c for each residue, from its CA (P-SEA: Labesse and others, Bioinformatics 1997, by biotite)."""
    ca = np.full(len(model.residues), -1)
    for row, (name, residue) in enumerate(zip(names, model.residue_index.tolist(), strict=True)):
        if name == "CA" and kinds[residue] == "p":
            ca[residue] = row
    found = ["c"] * len(model.residues)
    chains = np.array([residue.chain for residue in model.residues])
    for chain in dict.fromkeys(chains):
        here = np.flatnonzero((chains == chain) & (ca >= 0))
        if len(here) < 5:
            continue
        trace = struc.AtomArray(len(here))
        trace.coord = positions_xyz[ca[here]].astype(np.float32)
        trace.set_annotation("res_id", np.arange(1, len(here) + 1))
        for annotation, value in (("chain_id", "A"), ("res_name", "ALA"), ("atom_name", "CA")):
            trace.set_annotation(annotation, np.full(len(here), value))
        for residue, letter in zip(here, struc.annotate_sse(trace), strict=True):
            found[residue] = SSE[letter]
    return "".join(found)


def _drawn_density(density: PageDensity) -> dict[str, Any]:
    return {
        "values": base64.b64encode(density.packed).decode(),
        "shape": list(density.grid.shape_zyx),
        "voxel": density.grid.voxel_size,
        "origin": [float(each) for each in density.grid.origin_xyz],
        "step": density.step,
        "level": density.level,
    }
