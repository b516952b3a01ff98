"""Groups of residues that lie where the map has no such thing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryofound.building.fitting import Subject, subject
from cryofound.building.relocation import relocated
from cryofound.building.target import Target, make_target
from cryofound.config import BuildConfig
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from cryofound.structure.reading import read_model

GRID = Grid.centred(60, 1.6)
RESOLUTION = 5.0


@pytest.fixture(scope="module")
def kinase(shared_data: Path) -> Subject:
    model = read_model(shared_data / "families" / "adenylate_kinase" / "4ake_final.cif.gz", "A")
    return subject(model.moved(model.positions_xyz - model.positions_xyz.mean(0)), BuildConfig())


def half_of(what: Subject) -> np.ndarray:
    """(atom,) bool: one of the two halves that are its largest groups."""
    (halves,) = (share for share in what.parts.shares if share.shape[1] == 2)
    return (halves.argmax(1) == 0).numpy()[what.reference.residue_index]


def target_of(what: Subject, atoms: np.ndarray, noise: float) -> Target:
    xyz, amplitude = torch.from_numpy(what.reference.positions_xyz[atoms]), what.amplitude[atoms]
    drawn = render_gaussian(xyz[None], amplitude[None], GRID, RESOLUTION)[0].numpy()
    grains = np.random.default_rng(0).standard_normal(drawn.shape).astype(np.float32)
    return make_target(DensityMap(drawn + noise * drawn.std() * grains, GRID), RESOLUTION)


def turned(what: Subject, atoms: np.ndarray, degrees: float) -> np.ndarray:
    """The model with those atoms turned about the axis through the middles of both halves."""
    xyz = what.reference.positions_xyz
    middle, other = xyz[atoms].mean(0), xyz[~atoms].mean(0)
    axis = (middle - other) / np.linalg.norm(middle - other)
    found = xyz.copy()
    found[atoms] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).apply(xyz[atoms] - middle) + middle
    return found


@pytest.mark.shared
@pytest.mark.slow
def test_a_half_that_was_turned_away_is_found_again(kinase: Subject):
    atoms = half_of(kinase)
    start = turned(kinase, atoms, 130.0)
    found = relocated(start, kinase, target_of(kinase, np.full(len(atoms), True), 0.2))
    assert found is not None
    truth = kinase.reference.positions_xyz
    away = [np.linalg.norm(each - truth, axis=1) for each in (start, found)]
    assert np.median(away[0][atoms]) > 8.0
    assert np.median(away[1][atoms]) < 1.0
    assert np.quantile(away[1], 0.9) < 3.0
    ca = found[kinase.reference.backbone_index()[:, 1]]
    assert np.linalg.norm(ca[1:] - ca[:-1], axis=1).max() < 8.0


@pytest.mark.shared
def test_what_lies_right_stays(kinase: Subject):
    everything = np.full(kinase.reference.n_atoms, True)
    assert relocated(kinase.reference.positions_xyz, kinase, target_of(kinase, everything, 0.2)) is None


@pytest.mark.shared
@pytest.mark.slow
def test_a_half_without_density_is_not_dragged_into_noise(kinase: Subject):
    atoms = half_of(kinase)
    assert relocated(kinase.reference.positions_xyz, kinase, target_of(kinase, ~atoms, 0.2)) is None
