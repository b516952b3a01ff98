"""Side chains turned into the rotamers that a map favours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.building.rotamers import Scene, scene_of, side_chains, turn_side_chains
from cryofound.building.target import Target, make_target
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from cryofound.physics.hydrogens import heavy_bonds
from cryofound.structure.atomic_model import ATOM_NAMES, ATOMIC_NUMBERS, ELEMENTS, AtomicModel
from cryofound.structure.reading import read_model
from tests.made_proteins import made_protein

GRID = Grid.centred(64, 1.2)
RESOLUTION = 3.5
NO_OTHERS = (np.zeros((0, 3)), np.zeros(0))


@pytest.fixture(scope="module")
def calmodulin(shared_data: Path) -> AtomicModel:
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif")
    return model.moved(model.positions_xyz - model.positions_xyz.mean(0))


def numbers_of(model: AtomicModel) -> np.ndarray:
    return np.array([ATOMIC_NUMBERS[name] for name in ELEMENTS])[model.element]


def drawn(model: AtomicModel, positions_xyz: np.ndarray) -> np.ndarray:
    amplitude = torch.from_numpy(numbers_of(model).astype(np.float32))[None]
    return render_gaussian(torch.from_numpy(positions_xyz)[None], amplitude, GRID, RESOLUTION)[0].numpy()


def target_of(model: AtomicModel, noise: float) -> Target:
    values = drawn(model, model.positions_xyz)
    grains = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    return make_target(DensityMap(values + noise * values.std() * grains, GRID), RESOLUTION)


@pytest.mark.shared
def test_side_chains_take_the_angles_of_their_rotamers_and_keep_bonds_and_backbone(calmodulin: AtomicModel):
    bonds = heavy_bonds(calmodulin)
    for chains in side_chains(calmodulin):
        for choice, placed in enumerate(chains.placed(calmodulin.positions_xyz).swapaxes(0, 1)):
            positions = calmodulin.positions_xyz.copy()
            positions[chains.atoms] = placed
            off = (chains.angles(positions) - chains.rotamers[choice] + 180) % 360 - 180
            assert np.abs(off).max() < 0.1
            first, second = (
                np.linalg.norm(xyz[bonds[:, 0]] - xyz[bonds[:, 1]], axis=1)
                for xyz in (calmodulin.positions_xyz, positions)
            )
            assert np.abs(first - second).max() < 1e-3
            assert np.array_equal(
                positions[calmodulin.backbone_index()], calmodulin.positions_xyz[calmodulin.backbone_index()]
            )


@pytest.mark.shared
def test_what_a_side_chain_gains_is_what_the_drawn_map_says(calmodulin: AtomicModel):
    target = target_of(calmodulin, 0.3)
    number = numbers_of(calmodulin)
    (chains,) = (each for each in side_chains(calmodulin) if each.name == "LEU")
    positions = calmodulin.positions_xyz.copy()
    positions[chains.atoms[3]] = chains.placed(positions)[3, 0]
    scene = scene_of(positions, number, calmodulin, target, points=1000.0)
    moving = chains.turns[0]
    choices = chains.placed(positions)[:, :, moving]
    gains = scene.likelihood(positions[chains.atoms[:, moving]], choices, number[chains.atoms[0, moving]])

    def square(xyz: np.ndarray) -> float:
        values = drawn(calmodulin, xyz).astype(np.float64)
        left = target.density.numpy() - scene.scale * values
        return float(((left - left.mean()) ** 2).sum())

    for row, choice in ((0, 0), (3, 1), (4, 0), (5, 1)):
        turned = positions.copy()
        turned[chains.atoms[row, moving]] = choices[row, choice]
        exact = 0.5 * 1000.0 * (square(positions) - square(turned)) / square(positions)
        assert gains[row, choice] == pytest.approx(exact, rel=0.05, abs=0.02)


@pytest.mark.shared
def test_side_chains_in_wrong_rotamers_are_turned_back_and_right_ones_stay(calmodulin: AtomicModel):
    target = target_of(calmodulin, 0.1)
    chains = side_chains(calmodulin)
    wrong = calmodulin.positions_xyz.copy()
    spoilt = []
    for each in chains:
        placed = each.placed(wrong)
        for row in range(0, len(each.residue), 3):
            shift = np.linalg.norm(placed[row] - wrong[each.atoms[row]], axis=-1).max(-1)
            wrong[each.atoms[row]] = placed[row, int(shift.argmax())]
            spoilt.append(int(each.residue[row]))
    points = 8 * 140.0 * calmodulin.n_residues / RESOLUTION**3
    kept = wrong.copy()
    found, count = turn_side_chains(wrong, chains, calmodulin, target, points, *NO_OTHERS)
    assert np.array_equal(wrong, kept)
    assert count >= len(spoilt)

    def off(xyz: np.ndarray) -> np.ndarray:
        square = ((xyz - calmodulin.positions_xyz) ** 2).sum(-1)
        count = np.bincount(calmodulin.residue_index)
        return np.sqrt(np.bincount(calmodulin.residue_index, square) / count)

    before, after = off(wrong), off(found)
    assert (before[spoilt] > 1.0).mean() > 0.9
    assert (after[spoilt] < 1.0).mean() > 0.75
    right = np.setdiff1d(np.arange(calmodulin.n_residues), spoilt)
    assert (after[right] < 1.0).mean() > 0.95


@pytest.mark.shared
def test_a_side_chain_does_not_turn_into_its_neighbours(calmodulin: AtomicModel):
    scene: Scene = scene_of(
        calmodulin.positions_xyz, numbers_of(calmodulin), calmodulin, target_of(calmodulin, 0.1), 1000.0
    )
    names = np.array(ATOM_NAMES)[calmodulin.atom_name]
    atoms = np.flatnonzero((calmodulin.residue_index == 20) & ~np.isin(names, ["N", "CA", "C", "O"]))
    number, residue = numbers_of(calmodulin)[atoms], np.full(len(atoms), 20)
    there = calmodulin.positions_xyz[atoms]
    assert scene.overlap(there, number, residue).sum() < 0.5
    pushed = there + (calmodulin.ca_xyz()[60] - there.mean(0))
    assert scene.overlap(pushed, number, residue).sum() > 5.0


def test_side_chains_of_which_atoms_are_missing_stay_as_they_are():
    assert side_chains(made_protein(40)) == ()
