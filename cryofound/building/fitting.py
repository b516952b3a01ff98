"""One model into one map: rigid bodies from coarse to fine, then every atom under full stereochemistry."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryofound.building.motion import Bodies, bodies, carried, moved
from cryofound.building.rotamers import SideChains, side_chains, turn_side_chains
from cryofound.building.target import Target
from cryofound.config import BuildConfig
from cryofound.errors import TrainingError
from cryofound.physics.blurring import sharpening
from cryofound.physics.clashes import clash_score
from cryofound.physics.geometry import (
    DistancePairs,
    backbone_pairs,
    bond_pairs,
    distance_loss,
    peptide_pairs,
    residue_pairs,
)
from cryofound.physics.ramachandran import ramachandran_distance
from cryofound.physics.rotamers import rotamer_class
from cryofound.physics.stereochemistry import Stereochemistry, stereochemistry, stereochemistry_loss
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel

# kept distances, relative to one another: backbone windows, bonds, across peptides, within residues
BACKBONE, BOND, PEPTIDE, RESIDUE = 1.0, 50.0, 30.0, 100.0
RESIDUE_VOLUME = 140.0  # cubic angstrom
POINTS = 8  # independent values of a map in the cube of its resolution (Nyquist)
REFRESH = 25  # steps after which what is carried along is placed anew
# Shares of residues that are a good structure's (MolProbity's goals, Williams et al. 2018, doi:10.1002/pro.3330), and
# clashes in 1000 atoms
FAVOURED, OUTLIERS, ROTAMER_OUTLIERS, CLASHES = 0.98, 0.0005, 0.003, 1.0


@dataclass(frozen=True)
class Passengers:
    """What a model has beside its residues: pieces that move as one, (atom, 3) angstrom, atomic numbers (atom,)."""

    positions_xyz: tuple[np.ndarray, ...] = ()
    atomic_number: tuple[np.ndarray, ...] = ()

    def with_model(self, before_xyz: np.ndarray, after_xyz: np.ndarray) -> list[np.ndarray]:
        """Where each piece is when the model's atoms (atom, 3) have gone from one place to another."""
        return [carried(piece, before_xyz, after_xyz) for piece in self.positions_xyz]


@dataclass(frozen=True)
class Subject:
    """What is fitted: a reference model, all that is known of its geometry, and what it carries along."""

    reference: AtomicModel
    amplitude: Tensor
    parts: Bodies
    distances: tuple[tuple[float, DistancePairs], ...]
    windows: DistancePairs
    tables: Stereochemistry
    side_chains: tuple[SideChains, ...]
    passengers: Passengers


def subject(
    reference: AtomicModel,
    config: BuildConfig,
    domain: np.ndarray | None = None,
    passengers: Passengers | None = None,
) -> Subject:
    """The tables of a reference; domain (residue,) are its rigid domains where they are known."""
    windows = backbone_pairs(reference)
    distances = (
        (BACKBONE, windows),
        (BOND, bond_pairs(reference)),
        (PEPTIDE, peptide_pairs(reference)),
        (RESIDUE, residue_pairs(reference)),
    )
    numbers = np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS], dtype=np.float32)
    amplitude = torch.from_numpy(numbers[reference.element])
    return Subject(
        reference,
        amplitude,
        bodies(reference, config.group_levels, domain),
        distances,
        windows,
        stereochemistry(reference),
        side_chains(reference),
        passengers or Passengers(),
    )


def fit_motion(
    start_xyz: np.ndarray, what: Subject, target: Target, config: BuildConfig, coarsest: float
) -> np.ndarray:
    """Positions (atom, 3) after groups and residues have moved into the map, seen at `coarsest` angstrom first.

    The residues follow when the groups have found their place; distances within the model are kept softly.
    """
    start = torch.from_numpy(np.ascontiguousarray(start_xyz, dtype=np.float32))
    motion = what.parts.at_rest()
    optimizer = torch.optim.Adam([{"params": motion.groups}, {"params": [motion.residues]}])
    seen = _Seen(target)
    drawn = _Drawn(what)
    for step in range(config.motion_steps):
        done = step / config.motion_steps
        for group, rate in zip(optimizer.param_groups, (config.group_rate, config.residue_rate), strict=True):
            group["lr"] = rate * (1 - done)
        if done < config.groups_alone:
            optimizer.param_groups[1]["lr"] = 0.0
        positions = moved(start, what.parts, motion)
        near = seen.at(sharpening(coarsest, target.resolution, done / config.sharp_after))
        kept = sum(weight * distance_loss(positions[None], pairs)[0] for weight, pairs in what.distances)
        loss = near.misfit(*drawn.atoms(positions, step)) + config.motion_weight * kept
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _finite(moved(start, what.parts, motion))


def refine(start_xyz: np.ndarray, what: Subject, target: Target, config: BuildConfig) -> np.ndarray:
    """Positions (atom, 3) after every atom has moved under full stereochemistry, the map weighing less and less.

    The map's term is minus the logarithm of its likelihood per residue, the noise having the variance that the model
    leaves: a sharp map that the model explains weighs more than a blurred one that it does not. The last stages begin
    with side chains turned into the rotamers that the map favours. The map weighs no less than it must: once the
    model's geometry is sound, the stages that are left are not run.
    """
    information = POINTS * RESIDUE_VOLUME / target.resolution**3
    positions = torch.from_numpy(np.array(start_xyz, dtype=np.float32))
    drawn = _Drawn(what)
    turning = len(config.refinement) - config.turns
    for number, (weight, steps, rate) in enumerate(config.refinement):
        if number >= turning:
            positions = torch.from_numpy(_turned(positions.detach().numpy(), what, target, information))
        positions = positions.detach().requires_grad_()
        optimizer = torch.optim.Adam([positions], betas=(0.9, 0.99))
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-4
            loss = weight * information * _surprise(target.misfit(*drawn.atoms(positions, step)))
            loss = loss + stereochemistry_loss(positions[None], what.tables, config.stereochemistry)[0]
            loss = loss + config.window_weight * distance_loss(positions[None], what.windows)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if _sound(positions.detach()[None], what.tables):
            break
    return _finite(positions)


def misfit(positions_xyz: np.ndarray, what: Subject, target: Target) -> float:
    """1 - correlation of positions (atom, 3) with a target, passengers included."""
    with torch.no_grad():
        positions = torch.from_numpy(np.ascontiguousarray(positions_xyz, dtype=np.float32))
        return float(target.misfit(*_Drawn(what).atoms(positions, 0)))


def _sound(positions: Tensor, tables: Stereochemistry) -> bool:
    """Whether a model (1, atom, 3) has the geometry of a good structure."""
    shares = (
        (ramachandran_distance(positions, tables.ramachandran, "favored") > 0, 1 - FAVOURED),
        (ramachandran_distance(positions, tables.ramachandran, "allowed") > 0, OUTLIERS),
        (rotamer_class(positions, tables.rotamers) == 0, ROTAMER_OUTLIERS),
    )
    good = all(int(off.sum()) <= most * off.numel() for off, most in shares)
    return good and float(clash_score(positions, tables.clashes)) <= CLASHES


def _turned(positions_xyz: np.ndarray, what: Subject, target: Target, information: float) -> np.ndarray:
    pieces = what.passengers.with_model(what.reference.positions_xyz, positions_xyz)
    others = np.concatenate([*pieces, np.zeros((0, 3))])
    numbers = np.concatenate([*what.passengers.atomic_number, np.zeros(0)])
    points = information * what.reference.n_residues
    return turn_side_chains(positions_xyz, what.side_chains, what.reference, target, points, others, numbers)[0]


def _surprise(misfit: Tensor) -> Tensor:
    """Minus the log-likelihood of one value of a map at that misfit: half the logarithm of 1 - correlation^2."""
    return 0.5 * (misfit * (2 - misfit)).clamp_min(1e-6).log()


class _Seen:
    """A target at falling resolutions, in steps of a sixteenth, so that few of them have to be blurred."""

    def __init__(self, target: Target):
        self.target, self.last = target, target

    def at(self, resolution: float) -> Target:
        resolution = max(2 ** (round(16 * np.log2(resolution)) / 16), self.target.resolution)
        if resolution != self.last.resolution:
            self.last = self.target.coarser(resolution)
        return self.last


class _Drawn:
    """The atoms that are drawn: the model's, and what it carries, placed anew every REFRESH steps without gradients."""

    def __init__(self, what: Subject):
        self.what = what
        numbers = [torch.from_numpy(each.astype(np.float32)) for each in what.passengers.atomic_number]
        self.amplitude = torch.cat([what.amplitude, *numbers])
        self.others: Tensor | None = None

    def atoms(self, positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Positions and amplitudes of all atoms, (atom, 3) and (atom,)."""
        if not self.what.passengers.positions_xyz:
            return positions, self.amplitude
        if self.others is None or step % REFRESH == 0:
            pieces = self.what.passengers.with_model(self.what.reference.positions_xyz, positions.detach().numpy())
            self.others = torch.from_numpy(np.concatenate(pieces).astype(np.float32))
        return torch.cat([positions, self.others]), self.amplitude


def _finite(positions: Tensor) -> np.ndarray:
    found = positions.detach().numpy()
    if not np.isfinite(found).all():
        raise TrainingError("the fit left all bounds: positions are no longer numbers; lower refinement rates by half")
    return found
