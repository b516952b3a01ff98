"""The table of ideal covalent geometry: medians over crystal structures, derived by the project itself.

`derive_restraints` makes it from nothing but coordinates. Refinement holds bonds and angles near the targets of Engh &
Huber (International Tables F, 2001), so the medians over thousands of residues lie on those targets. What is bonded to
what is measured as well: two atoms whose median distance is that of a bond.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.omega import peptides
from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, RESIDUE_TYPES, AtomicModel
from cryofound.structure.reading import SIDE_CHAINS

# "CA CB" -> (ideal, spread, observations): two atoms angstrom, three degrees, four angstrom^3
Group = dict[str, tuple[float, float, int]]

LONGEST_BOND = 1.95  # angstrom; 1-3 distances start at 2.1, only disulfides are longer
LONGEST_DISULFIDE = 2.5
RARE = 100  # observations; the spread of fewer is not trusted
PLANAR_VOLUME = 0.5  # angstrom^3; those of chiral centres are 2.4 to 2.8
RIGID_SINE = 0.2  # a torsion whose sine is below this in nine of ten residues does not turn
# Least and largest spread of bonds, angles, volumes: refinement with tight restraints makes them too small, and
# misfit side chains too large.
SPREADS = {2: (0.010, 0.030), 3: (1.0, 3.0), 4: (0.08, 0.20)}

PEPTIDE = ["CA", "C", "O", "+N", "+CA"]
LINKED = {
    "terminus": ["CA", "C", "O", "OXT"],
    "disulfide": ["CB", "SG", "+SG", "+CB"],
    "peptide": PEPTIDE,
    "peptide_glycine": PEPTIDE,
    "peptide_trans_proline": [*PEPTIDE, "+CD"],
    "peptide_cis_proline": [*PEPTIDE, "+CD"],
}
NAMES = {kind: [*BACKBONE, *SIDE_CHAINS[kind].split()] for kind in RESIDUE_TYPES[:-1]} | LINKED


def derive_restraints(models: Sequence[AtomicModel]) -> dict[str, Group]:
    """Ideal values of every bond, angle and volume of four atoms, by group.

    Groups are the residue types (UNK: the backbone alone), `terminus` (what OXT adds), `disulfide` and the four kinds
    of peptide link; a name with a plus belongs to the second residue of a link. Rows of four names are volumes
    `(b - a) . ((c - a) x (d - a))`: of every centre (first) with its three neighbours, and of every chain of four atoms
    about a bond that does not turn, which keeps rings flat. A group that no model holds is missing.
    """
    found: dict[str, list[np.ndarray]] = {}
    for model in models:
        table = atom_table(model)
        xyz = np.concatenate([model.positions_xyz.astype(np.float64), np.full((1, 3), np.nan)])  # row -1: missing
        for group, first, second in members(model):
            if group in NAMES and len(first):
                found.setdefault(group, []).append(xyz[rows_of(table, NAMES[group], first, second)])
    groups = {group: _measure(np.concatenate(found[group]), group) for group in NAMES if group in found}
    # The backbone is one for all but GLY and PRO; pooled, it does not follow the few dictionaries that set it by type.
    common = [kind for kind in found if kind not in ("GLY", "PRO", *LINKED)]
    pooled = np.concatenate([xyz[:, : len(BACKBONE)] for kind in common for xyz in found[kind]])
    groups["UNK"] = _measure(pooled, "UNK")
    return groups | {kind: groups[kind] | groups["UNK"] for kind in common}


def members(model: AtomicModel) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each group that the model has, with the first and the second residue (the same outside links) of each member."""
    for kind in np.unique(model.residue_type).tolist():
        residues = np.flatnonzero(model.residue_type == kind)
        yield str(RESIDUE_TYPES[kind]), residues, residues
    ends = model.residue_index[model.atom_name == ATOM_NAMES.index("OXT")]
    yield "terminus", ends, ends
    sulphurs = np.flatnonzero(model.atom_name == ATOM_NAMES.index("SG"))
    pairs = cKDTree(model.positions_xyz[sulphurs]).query_pairs(LONGEST_DISULFIDE, output_type="ndarray")
    first, second = model.residue_index[sulphurs[pairs]].T
    yield "disulfide", first, second
    links = peptides(model)
    following = np.array(RESIDUE_TYPES)[model.residue_type[1:]][bonded_to_next(model)]
    cis = links.cis.numpy()
    kinds = np.select(
        [following == "GLY", (following == "PRO") & cis, following == "PRO"],
        ["peptide_glycine", "peptide_cis_proline", "peptide_trans_proline"],
        "peptide",
    )
    for kind in np.unique(kinds):
        second = links.residue.numpy()[kinds == kind]
        yield str(kind), second - 1, second


def atom_table(model: AtomicModel) -> np.ndarray:
    """(residue, name) int64: rows of the atom arrays by ATOM_NAMES, -1 where a residue lacks the atom."""
    table = np.full((model.n_residues, len(ATOM_NAMES)), -1, dtype=np.int64)
    table[model.residue_index, model.atom_name] = np.arange(model.n_atoms)
    return table


def rows_of(table: np.ndarray, names: Sequence[str], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(member, name) int64 atom rows: a name with a plus is looked up in the second residue, -1 where missing."""
    columns = [ATOM_NAMES.index(name.removeprefix("+")) for name in names]
    residues = [second if name.startswith("+") else first for name in names]
    return np.stack([table[residue, column] for residue, column in zip(residues, columns, strict=True)], axis=1)


@cache
def ideal_values() -> dict[str, Group]:
    """The groups of the shipped table (`tables/restraints.json`), as `derive_restraints` made them."""
    text = files("cryofound.physics").joinpath("tables", "restraints.json").read_text()
    return {group: {row: tuple(value) for row, value in rows.items()} for group, rows in json.loads(text).items()}


def table_text(groups: dict[str, Group]) -> str:
    """The table as JSON, one row a line."""
    blocks = []
    for group, rows in groups.items():
        lines = [f"  {json.dumps(row)}: {json.dumps(list(value))}" for row, value in rows.items()]
        blocks.append(f"{json.dumps(group)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _measure(xyz: np.ndarray, group: str) -> Group:
    """The rows of one group from xyz (member, name, 3), nan where an atom is missing."""
    names = NAMES.get(group, list(BACKBONE))
    at = {name: xyz[:, column] for column, name in enumerate(names)}

    def belongs(row: tuple[str, ...]) -> bool:
        if group == "terminus":
            return "OXT" in row
        return group not in LINKED or 0 < sum(name.startswith("+") for name in row) < len(row)

    longest = LONGEST_DISULFIDE if group == "disulfide" else LONGEST_BOND
    bonds = [
        pair
        for pair in combinations(names, 2)
        if np.nanmedian(np.linalg.norm(at[pair[0]] - at[pair[1]], axis=1)) < longest
    ]
    neighbours = {
        name: [other for other in names if (name, other) in bonds or (other, name) in bonds] for name in names
    }
    angles = [(a, centre, b) for centre in names for a, b in combinations(neighbours[centre], 2)]
    volumes = [(centre, *neighbours[centre]) for centre in names if len(neighbours[centre]) == 3]
    if group not in LINKED:  # the one rigid torsion of a link is omega
        volumes += [
            (a, b, c, d)
            for b, c in bonds
            for a in neighbours[b]
            for d in neighbours[c]
            if len({a, b, c, d}) == 4 and _is_rigid(at[a], at[b], at[c], at[d])
        ]
    rows = {}
    for row in filter(belongs, (*bonds, *angles, *volumes)):
        value = MEASURES[len(row)](*(at[name] for name in row))
        value = value[np.isfinite(value)]
        rows[" ".join(row)] = _ideal(value, len(row))
    return rows


def _ideal(value: np.ndarray, atoms: int) -> tuple[float, float, int]:
    median = float(np.median(value))
    if atoms == 4 and abs(median) < PLANAR_VOLUME:
        median = 0.0
    least, largest = SPREADS[atoms]
    spread = 1.4826 * float(np.median(np.abs(value - median))) if len(value) >= RARE else largest
    digits = {2: 4, 3: 2, 4: 3}[atoms]
    return round(median, digits), round(min(max(spread, least), largest), digits), len(value)


def _is_rigid(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    first, second = np.cross(a - b, c - b), np.cross(d - c, c - b)
    sine = np.linalg.norm(np.cross(first, second), axis=1)
    sine /= np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return bool(np.nanpercentile(sine, 90) < RIGID_SINE)


def _length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=1)


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    sine = np.linalg.norm(np.cross(a - b, c - b), axis=1)
    return np.degrees(np.arctan2(sine, ((a - b) * (c - b)).sum(1)))


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return ((b - a) * np.cross(c - a, d - a)).sum(1)


MEASURES = {2: _length, 3: _angle, 4: _volume}
