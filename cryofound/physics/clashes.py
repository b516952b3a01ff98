"""A differentiable clash term: overlap of van der Waals spheres, hydrogens included, pair by pair from a cell list.

Radii and the overlap that a hydrogen bond may have are those of Probe (Word et al. 1999, doi:10.1006/jmbi.1999.2400)
with MolProbity's radii to the electron cloud (Deis et al. 2013). Hydrogens ride on the heavy atoms (hydrogens.py), so
the term is a function of these alone. Probe does not count a contact behind an atom that is bonded to either side,
which is no smooth function; allowances have nearly its effect: one for the parent of a polar hydrogen and an acceptor,
one for two hydrogens whose parents are three bonds apart.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from cryofound.physics.hydrogens import (
    FLAT,
    RINGS,
    TURNING,
    Hydrogens,
    heavy_bonds,
    known_atoms,
    place_hydrogens,
    riding_hydrogens,
)
from cryofound.physics.neighbours import PairList, overlapping_pairs
from cryofound.physics.on_device import OnDevice
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel

RADII = {"C": 1.70, "N": 1.55, "O": 1.40, "S": 1.80, "P": 1.80, "SE": 1.90, "X": 1.70}  # angstrom
CARBONYL, AROMATIC = 1.65, 1.75
HYDROGEN, POLAR_HYDROGEN = 1.22, 1.05  # a hydrogen on an aromatic carbon has the radius of a polar one
LEFT_OUT = -10.0  # the radius of an atom whose bonds are not known: it overlaps with nothing
EXCLUDED_BONDS = 3  # heavy atoms nearer than a fourth bond do not count, nor what is nearer than a fifth to a hydrogen
HYDROGEN_BOND = 0.6  # angstrom of overlap that a hydrogen and an acceptor may have
HEAVY_BOND = 0.3  # what the hydrogen's parent and the acceptor may: N to O 2.65 A, about as near as straight bonds come
COUNTED_HEAVY_BOND = 0.1  # the same where clashes are counted: Probe allows nothing where the hydrogen is not between
ACROSS = 0.2  # what two hydrogens a fifth bond apart may, as most of their contact is hidden behind their parents
CLASH = 0.4  # angstrom of overlap from which on MolProbity counts a clash
TOLERANCE = 0.2  # angstrom of overlap that costs nothing
# Rings whose atoms accept hydrogen bonds from above: of tryptophan the six-membered one, of histidine the nitrogens.
ACCEPTING_RINGS = {"PHE": RINGS["PHE"], "TYR": RINGS["TYR"], "TRP": "CD2 CE2 CE3 CZ2 CZ3 CH2", "HIS": "ND1 NE2"}


@dataclass(frozen=True)
class ClashTopology(OnDevice):
    """What the clash term knows of a model beside its positions; sites are its atoms, then its hydrogens.

    radius (site,) float64 angstrom; donor (of hydrogen bonds: a polar hydrogen and its parent), acceptor (site,) bool;
    residue (site,) int64; excluded (pair,) int64 as in `overlapping_pairs`; across (pair,) int64, in the same way, two
    hydrogens whose parents are three bonds apart; n_residues; n_counted, the atoms that a clashscore divides by: all
    hydrogens included, those that turn as well.
    """

    hydrogens: Hydrogens
    radius: Tensor
    donor: Tensor
    acceptor: Tensor
    residue: Tensor
    excluded: Tensor
    across: Tensor
    n_residues: int
    n_counted: int


def clash_topology(model: AtomicModel) -> ClashTopology:
    """The tables of a model; its positions only tell what is bonded (peptides, disulfides).

    Atoms whose bonds are not known (a name that the residue type does not have) are left out.
    """
    hydrogens = riding_hydrogens(model)
    parent = hydrogens.parent.numpy()
    known = known_atoms(model)
    aromatic, carbonyl, accepting = (_named(model, table) for table in (RINGS, _CARBONYLS, ACCEPTING_RINGS))
    carbon, oxygen, sulphur = (model.element == ELEMENTS.index(name) for name in "COS")
    heavy = np.array([RADII[name] for name in ELEMENTS])[model.element]
    heavy[carbon & aromatic] = AROMATIC
    heavy[carbonyl | (model.atom_name == ATOM_NAMES.index("C"))] = CARBONYL
    heavy[~known] = LEFT_OUT
    polar = ~carbon[parent]
    light = np.where(polar | aromatic[parent], POLAR_HYDROGEN, HYDROGEN)
    turning = _named(model, TURNING)
    giving = turning.copy()
    giving[parent[polar]] = True
    none = np.zeros(len(parent), dtype=bool)
    excluded, across = _bonded(heavy_bonds(model), parent, model.n_atoms)
    return ClashTopology(
        hydrogens=hydrogens,
        radius=torch.from_numpy(np.concatenate([heavy, light])),
        donor=torch.from_numpy(np.concatenate([giving, polar])),
        acceptor=torch.from_numpy(np.concatenate([oxygen | sulphur | accepting, none])),
        residue=torch.from_numpy(np.concatenate([model.residue_index, model.residue_index[parent]])),
        excluded=torch.from_numpy(excluded),
        across=torch.from_numpy(across),
        n_residues=model.n_residues,
        n_counted=int(known.sum() + turning.sum()) + len(parent),
    )


def clash_overlap(
    positions_xyz: Tensor, topology: ClashTopology, tolerance: float = TOLERANCE, nearby: PairList | None = None
) -> Tensor:
    """Sum of squared overlaps beyond the tolerance, angstrom^2: (batch, atom, 3) -> (batch, residue).

    Each of the two residues of a pair has half of its value, so that the sum over residues is the sum over pairs.
    Differentiable in positions_xyz, with a continuous gradient. nearby: a list of its own for these models, where they
    come again and again. Raises ValueError if a position is not finite.
    """
    rows, first, second, overlap = _overlaps(positions_xyz, topology, tolerance, HEAVY_BOND, nearby)
    half = 0.5 * (overlap - tolerance).clamp_min(0).square()
    batch = len(positions_xyz)
    values = half.new_zeros(batch * topology.n_residues)
    for site in (first, second):
        values = values.index_add(0, rows * topology.n_residues + topology.residue[site], half)
    return values.view(batch, topology.n_residues)


def clash_score(positions_xyz: Tensor, topology: ClashTopology) -> Tensor:
    """Pairs that overlap by 0.4 A or more per 1000 atoms, hydrogens included: (batch, atom, 3) -> (batch,) float64.

    Near MolProbity's clashscore (docs/decisions/008-clash-term.md), not the same: see the top of the module.
    """
    with torch.no_grad():
        rows, _, _, overlap = _overlaps(positions_xyz, topology, CLASH, COUNTED_HEAVY_BOND)
    counts = torch.bincount(rows[overlap >= CLASH], minlength=len(positions_xyz))
    return 1000.0 * counts.double() / max(topology.n_counted, 1)


def _overlaps(
    positions_xyz: Tensor, topology: ClashTopology, tolerance: float, heavy_bond: float, nearby: PairList | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch row, two sites and overlap (angstrom, less what is allowed) of every overlapping pair.

    heavy_bond: angstrom allowed to the parent of a polar hydrogen and an acceptor.
    """
    sites_xyz = torch.cat([positions_xyz, place_hydrogens(positions_xyz, topology.hydrogens)], dim=1)
    search = overlapping_pairs if nearby is None else nearby.overlapping
    rows, first, second = search(sites_xyz, topology.radius, topology.excluded, tolerance)
    flat, sites = sites_xyz.flatten(0, 1), sites_xyz.shape[1]
    vector = flat.index_select(0, rows * sites + first) - flat.index_select(0, rows * sites + second)
    # the tiny offset keeps the gradient finite where two atoms coincide
    distance = (vector.square().sum(-1) + 1e-12).sqrt()
    donor, acceptor = topology.donor, topology.acceptor
    bonding = (donor[first] & acceptor[second]) | (acceptor[first] & donor[second])
    across = torch.isin(first * sites + second, topology.across)
    # hydrogens come after all atoms, so that of a bond the hydrogen is the second site
    bond = HYDROGEN_BOND - (HYDROGEN_BOND - heavy_bond) * (second < positions_xyz.shape[1]).double()
    allowed = bond * bonding.double() + ACROSS * across.double()
    contact = topology.radius[first] + topology.radius[second] - allowed
    return rows, first, second, contact.to(distance.dtype) - distance


_CARBONYLS = {
    residue: " ".join(name for name in names.split() if name in ("CG", "CD")) for residue, names in FLAT.items()
}


def _named(model: AtomicModel, table: dict[str, str]) -> np.ndarray:
    """(atom,) bool: the atoms that a table names, residue type to atom names."""
    named = np.zeros((len(RESIDUE_TYPES), len(ATOM_NAMES)), dtype=bool)
    for residue, names in table.items():
        named[RESIDUE_TYPES.index(residue), [ATOM_NAMES.index(name) for name in names.split()]] = True
    return named[model.residue_type[model.residue_index], model.atom_name]


def _bonded(bonds: np.ndarray, parent: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes, as in `overlapping_pairs`, of the pairs of sites that are excluded, and of those that lie across.

    All of them have heavy atoms at most EXCLUDED_BONDS apart; across are two hydrogens with as many between parents.
    """
    links = np.concatenate([bonds, bonds[:, ::-1], np.stack([np.arange(n_atoms)] * 2, axis=1)])
    step = coo_array((np.ones(len(links), bool), links.T), shape=(n_atoms, n_atoms)).tocsr()
    owner = np.concatenate([np.arange(n_atoms), parent])
    sites = coo_array((np.ones(len(owner), bool), (np.arange(len(owner)), owner))).tocsr()
    within = [sites]
    for _ in range(EXCLUDED_BONDS):
        within.append(within[-1] @ step)
    nearer, near = (_codes(each @ sites.T) for each in within[-2:])
    hydrogens = near // len(owner) >= n_atoms
    across = np.setdiff1d(near[hydrogens], nearer, assume_unique=True)
    return np.setdiff1d(near, across, assume_unique=True), across


def _codes(pairs: csr_array) -> np.ndarray:
    """(pair,) int64, sorted: first * site + second of the entries above the diagonal."""
    first, second = pairs.nonzero()
    upper = first < second
    return np.unique(first[upper].astype(np.int64) * pairs.shape[0] + second[upper])
