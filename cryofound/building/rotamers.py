"""Side chains turned into the rotamers that a map favours: what no descent finds, as barriers lie between rotamers.

A side chain is judged by what it would gain: log-likelihood of the map (the noise having the variance that the whole
model leaves), logarithm of its rotamer's percentile in the Top8000 distributions (Hintze et al. 2016,
doi:10.1002/prot.25039), and overlap with the atoms about it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from cryofound.building.target import Target
from cryofound.models.atom_field import rotated
from cryofound.physics.density import render_gaussian
from cryofound.physics.dihedrals import dihedral
from cryofound.physics.form_factors import gaussian_form
from cryofound.physics.hydrogens import heavy_bonds
from cryofound.physics.rotamers import ALLOWED, CHI_PATHS, FAVORED, rotamer_percentile
from cryofound.structure.atomic_model import ATOM_NAMES, ATOMIC_NUMBERS, ELEMENTS, RESIDUE_TYPES, AtomicModel

# an sp2 end has no three wells, and some are the same after half a turn
STAGGERED = (60.0, 180.0, 300.0)
HALF_TURN = {"ASP", "GLU", "PHE", "TYR"}
FLAT = {"ASN", "ASP", "GLN", "GLU", "HIS", "PHE", "TRP", "TYR"}
FLAT_STEP = 30.0
ROUNDS = 8
LEAST_GAIN = 1.0  # nats
APART = 8.0  # angstrom between the CA of residues that may turn in the same round
CLASH = 20.0  # nats for a squared angstrom of overlap
# heavy atoms, their hydrogens within: angstrom
RADII = np.full(100, 1.7)
RADII[[7, 8, 16]] = 1.45, 1.4, 1.75
POLAR_CONTACT, SULPHUR_CONTACT = 2.6, 1.9


@dataclass(frozen=True)
class SideChains:
    """All whole side chains of one residue type.

    residue (row,); atoms (row, column) rows of N, CA, CB and all that turns, of which chi (chi, 4) are columns;
    turns (chi, column) bool; rotamers (choice, chi) degrees, prior (choice,) logarithms of their percentiles.
    """

    name: str
    residue: np.ndarray
    atoms: np.ndarray
    chi: np.ndarray
    turns: np.ndarray
    rotamers: np.ndarray
    prior: np.ndarray

    def placed(self, positions_xyz: np.ndarray) -> np.ndarray:
        """Every side chain in every rotamer on the backbone of positions (atom, 3): (row, choice, column, 3)."""
        start = torch.from_numpy(positions_xyz[self.atoms])
        now = self.angles(positions_xyz)
        xyz = start[:, None].expand(-1, len(self.rotamers), -1, -1)
        for number, (path, turns) in enumerate(zip(self.chi, torch.from_numpy(self.turns), strict=True)):
            turn = torch.from_numpy(np.deg2rad(self.rotamers[None, :, number] - now[:, None, number]))
            axis = xyz[:, :, path[2]] - xyz[:, :, path[1]]
            axis = axis / axis.norm(dim=-1, keepdim=True) * turn[..., None].to(xyz.dtype)
            pivot = xyz[:, :, path[2], None]
            turned = pivot + rotated(xyz - pivot, axis[:, :, None].expand_as(xyz))
            xyz = torch.where(turns[None, None, :, None], turned, xyz)
        return xyz.numpy()

    def angles(self, positions_xyz: np.ndarray) -> np.ndarray:
        """(row, chi) degrees."""
        rows = torch.from_numpy(self.atoms[:, self.chi].reshape(-1, 4))
        return dihedral(torch.from_numpy(positions_xyz)[None], rows)[0].rad2deg().view(len(self.atoms), -1).numpy()


def side_chains(model: AtomicModel) -> tuple[SideChains, ...]:
    """The side chains of a model that can turn; those with missing atoms, and prolines, are left out."""
    row_of = np.full((model.n_residues, len(ATOM_NAMES)), -1, dtype=np.int64)
    row_of[model.residue_index, model.atom_name] = np.arange(model.n_atoms)
    bonds = heavy_bonds(model)
    bonds = bonds[model.residue_index[bonds[:, 0]] == model.residue_index[bonds[:, 1]]]
    found = []
    for name, path in CHI_PATHS.items():
        of_type = model.residue_type == RESIDUE_TYPES.index(name)
        if name == "PRO" or not of_type.any():
            continue
        mine = bonds[of_type[model.residue_index[bonds[:, 0]]]]
        neighbours: dict[int, set[int]] = {}
        for one, other in model.atom_name[mine].tolist():
            neighbours.setdefault(one, set()).add(other)
            neighbours.setdefault(other, set()).add(one)
        names = [ATOM_NAMES.index(atom) for atom in path.split()]
        if not neighbours.keys() >= set(names):
            continue
        beyond = [_beyond(neighbours, *names[number + 1 : number + 3]) for number in range(len(names) - 3)]
        columns = names[:3] + sorted(beyond[0])
        atoms = row_of[:, columns]
        residue = np.flatnonzero(of_type & (atoms >= 0).all(axis=1))
        if len(residue):
            chi = np.array([[columns.index(each) for each in names[n : n + 4]] for n in range(len(names) - 3)])
            turns = np.array([[column in each for column in columns] for each in beyond])
            found.append(SideChains(name, residue, atoms[residue], chi, turns, *_rotamers(name)))
    return tuple(found)


def turn_side_chains(
    positions_xyz: np.ndarray,
    chains: Sequence[SideChains],
    model: AtomicModel,
    target: Target,
    points: float,
    others_xyz: np.ndarray,
    others_number: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Positions (atom, 3) with side chains in the rotamers that gain, and how many have turned.

    points: independent values of the map that the model is judged by; others_xyz (other, 3) angstrom and others_number
    (other,) are atoms beside the model's. In every round neighbours wait for the one that gains most.
    """
    positions = np.array(positions_xyz, dtype=np.float32)
    own = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS])[model.element]
    everything = np.concatenate([own, others_number]).astype(np.int64)
    ca = model.backbone_index()[:, 1]
    turned: set[int] = set()
    for _ in range(ROUNDS):
        scene = scene_of(np.concatenate([positions, others_xyz]).astype(np.float32), everything, model, target, points)
        gains = [_gains(each, positions, scene) for each in chains]
        best = [(gain.max(axis=1), gain.argmax(axis=1)) for gain, _ in gains]
        order = sorted(
            ((-value, kind, row) for kind, (values, _) in enumerate(best) for row, value in enumerate(values.tolist())),
        )
        moved: list[int] = []
        for loss, kind, row in order:
            if -loss < LEAST_GAIN:
                break
            residue = int(chains[kind].residue[row])
            if moved and np.linalg.norm(positions[ca[moved]] - positions[ca[residue]], axis=1).min() < APART:
                continue
            positions[chains[kind].atoms[row]] = gains[kind][1][row, best[kind][1][row]]
            moved.append(residue)
        turned |= set(moved)
        if not moved:
            break
    return positions, len(turned)


@dataclass(frozen=True)
class Scene:
    """What side chains are judged against: the residual map (z, y, x) and its square sum, the model's scale in it.

    points: independent values of the map; number, residue (atom,) atomic numbers and residues of all that is drawn.
    """

    target: Target
    residual: Tensor
    scale: float
    square: float
    points: float
    number: np.ndarray
    tree: cKDTree
    residue: np.ndarray

    def likelihood(self, now_xyz: np.ndarray, choices_xyz: np.ndarray, number: np.ndarray) -> np.ndarray:
        """What the map's log-likelihood gains if side chains went elsewhere, each alone: (row, choice) nats.

        now_xyz (row, atom, 3), choices_xyz (row, choice, atom, 3), number (atom,). To first order in the share of the
        residual that a side chain explains, the model's scale kept.
        """
        now = now_xyz[:, None]
        every = np.concatenate([now, choices_xyz], axis=1)
        shape = every.shape[:3]
        numbers = np.broadcast_to(number, shape).ravel()
        seen = self.seen(np.ascontiguousarray(every.reshape(-1, 3)), numbers).reshape(shape).sum(-1)
        own, cross = self.shared(every, every, number), self.shared(every, now, number)
        square = own + own[:, :1] - 2 * cross  # of what changes in the drawn map
        less = 2 * self.scale * (seen - seen[:, :1]) - self.scale**2 * square
        return 0.5 * self.points * less[:, 1:] / self.square

    def seen(self, xyz: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Product of the residual with each atom drawn alone: xyz (point, 3), number (point,) -> (point,)."""
        amplitude = torch.from_numpy(number.astype(np.float32))[None].requires_grad_()
        drawn = render_gaussian(torch.from_numpy(xyz)[None], amplitude, self.target.grid, self.target.resolution)
        (gradient,) = torch.autograd.grad((drawn * self.residual).sum(), amplitude)
        return gradient[0].numpy() * number

    def shared(self, first_xyz: np.ndarray, second_xyz: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Product of two groups of atoms drawn: (..., atom, 3) each, atomic numbers (atom,) -> (...)."""
        height, decay = (float(each) for each in gaussian_form(torch.ones(1, 1), self.target.resolution))
        square = ((first_xyz[..., :, None, :] - second_xyz[..., None, :, :]) ** 2).sum(-1)
        whole = height**2 * (math.pi / (2 * decay)) ** 1.5 / self.target.grid.voxel_size**3
        return np.einsum("...ab,a,b->...", whole * np.exp(-0.5 * decay * square), number, number)

    def overlap(self, xyz: np.ndarray, number: np.ndarray, residue: np.ndarray) -> np.ndarray:
        """Sum of squared overlaps of each atom with those of other residues, square angstrom: (point,)."""
        mine = cKDTree(xyz)
        near = mine.sparse_distance_matrix(self.tree, 2 * float(RADII.max()), output_type="coo_matrix")
        other = self.residue[near.col] != residue[near.row]
        row, column, distance = near.row[other], near.col[other], near.data[other]
        contact = _contact(number[row], self.number[column])
        return np.bincount(row, np.maximum(contact - distance, 0) ** 2, minlength=len(xyz))


def scene_of(xyz: np.ndarray, number: np.ndarray, model: AtomicModel, target: Target, points: float) -> Scene:
    amplitude = torch.from_numpy(number.astype(np.float32))
    with torch.no_grad():
        drawn = render_gaussian(torch.from_numpy(xyz)[None], amplitude[None], target.grid, target.resolution)[0]
    counts = target.counts
    mine, theirs = drawn[counts], target.density[counts]
    mine, theirs = mine - mine.mean(), theirs - theirs.mean()
    scale = float((mine * theirs).sum() / mine.square().sum().clamp_min(1e-12))
    residual = torch.zeros_like(target.density)
    residual[counts] = theirs - scale * mine
    residue = np.full(len(xyz), -1)
    residue[: model.n_atoms] = model.residue_index
    return Scene(target, residual, scale, float(residual.square().sum()), points, number, cKDTree(xyz), residue)


def _gains(chains: SideChains, positions_xyz: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What each rotamer gains over the side chain as it is, nats (row, choice); and all of them placed.

    Nothing is gained by one that the map speaks against.
    """
    placed = chains.placed(positions_xyz)
    moving = chains.turns[0]
    number = scene.number[chains.atoms[0, moving]]
    choices = placed[:, :, moving]
    now = positions_xyz[chains.atoms[:, moving]]
    every = np.concatenate([now[:, None], choices], axis=1)  # (row, 1 + choice, atom, 3)
    shape = every.shape[:3]
    numbers = np.broadcast_to(number, shape).ravel()
    residue = np.broadcast_to(chains.residue[:, None, None], shape).ravel()
    overlap = scene.overlap(every.reshape(-1, 3), numbers, residue).reshape(shape).sum(-1)
    likelihood = scene.likelihood(now, choices, number)
    before = _prior(chains.name, chains.angles(positions_xyz))
    gain = likelihood + chains.prior - before[:, None] - CLASH * (overlap[:, 1:] - overlap[:, :1])
    return np.where(likelihood >= 0, gain, -np.inf), placed


def _contact(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Least distance in angstrom of atoms with these atomic numbers that are no neighbours by bonds."""
    contact = RADII[first] + RADII[second]
    polar = ((first == 7) | (first == 8)) & ((second == 7) | (second == 8))
    return np.where(polar, POLAR_CONTACT, np.where((first == 16) & (second == 16), SULPHUR_CONTACT, contact))


def _beyond(neighbours: dict[int, set[int]], near: int, far: int) -> set[int]:
    """The atoms that turn about the bond from `near` to `far`."""
    found, edge = {far}, [far]
    while edge:
        edge = [each for one in edge for each in neighbours[one] if each not in found and (one, each) != (far, near)]
        found |= set(edge)
    return found - {far}


def _prior(name: str, chi: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(rotamer_percentile(name, chi), ALLOWED))


@cache
def _rotamers(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Favoured chi angles (choice, chi) in degrees of a residue type, and their priors (choice,)."""
    wells = [STAGGERED] * (len(CHI_PATHS[name].split()) - 3)
    if name in FLAT:
        wells[-1] = tuple(np.arange(0.0, 180.0 if name in HALF_TURN else 360.0, FLAT_STEP).tolist())
    chi = np.array(list(product(*wells)), dtype=np.float32)
    prior = _prior(name, chi)
    kept = prior >= np.log(FAVORED)
    return chi[kept], prior[kept]
