"""Models built into series of simulated maps of a real protein, whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.building.fitting import Passengers, Subject, fit_motion, refine, subject
from cryofound.building.morph import morph
from cryofound.building.series import REFERENCE, build_series, free_fit
from cryofound.building.target import Target, make_target
from cryofound.config import BuildConfig, StereochemistryConfig
from cryofound.errors import TrainingError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from cryofound.physics.stereochemistry import stereochemistry_loss
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import read_model

GRID = Grid.centred(56, 1.6)
RESOLUTION = 5.0
FAST = BuildConfig(motion_steps=120, refinement=((50.0, 40, 0.05), (1.0, 40, 0.03)))


@pytest.fixture(scope="module")
def calmodulin(shared_data: Path) -> AtomicModel:
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif")
    return model.moved(model.positions_xyz - model.positions_xyz.mean(0))


def target_of(what: Subject, positions_xyz: np.ndarray, noise: float = 0.0) -> Target:
    drawn = render_gaussian(torch.from_numpy(positions_xyz)[None], what.amplitude[None], GRID, RESOLUTION)[0].numpy()
    grains = np.random.default_rng(0).standard_normal(drawn.shape).astype(np.float32)
    return make_target(DensityMap(drawn + noise * drawn.std() * grains, GRID), RESOLUTION)


@pytest.mark.shared
def test_a_protein_six_angstrom_away_is_brought_home(calmodulin: AtomicModel):
    bent = mode_states(calmodulin, 1, 6.0)[0].astype(np.float32)
    what = subject(calmodulin, FAST)
    target = target_of(what, bent)
    placed = fit_motion(calmodulin.positions_xyz, what, target, FAST, 40.0)
    assert np.sqrt(((placed - bent) ** 2).sum(-1).mean()) < 1.5
    assert np.array_equal(placed, fit_motion(calmodulin.positions_xyz, what, target, FAST, 40.0))


@pytest.mark.shared
def test_refinement_mends_a_shaken_model_without_leaving_the_map(calmodulin: AtomicModel):
    what = subject(calmodulin, FAST)
    noise = np.random.default_rng(1).normal(scale=0.3, size=calmodulin.positions_xyz.shape).astype(np.float32)
    shaken = calmodulin.positions_xyz + noise
    kept = shaken.copy()
    refined = refine(shaken, what, target_of(what, calmodulin.positions_xyz), FAST)

    def strain(positions_xyz: np.ndarray) -> float:
        return stereochemistry_loss(torch.from_numpy(positions_xyz)[None], what.tables, StereochemistryConfig()).item()

    assert np.array_equal(shaken, kept)
    assert strain(refined) < 0.05 * strain(shaken)
    assert rmsd_superposed(refined, calmodulin.positions_xyz) < 0.75 * rmsd_superposed(shaken, calmodulin.positions_xyz)


@pytest.mark.shared
@pytest.mark.slow
def test_the_far_state_of_a_series_is_built_from_the_one_between(calmodulin: AtomicModel):
    near, far = (mode_states(calmodulin, 1, rmsd)[0].astype(np.float32) for rmsd in (3.0, 6.0))
    what = subject(calmodulin, FAST)
    told: list[str] = []
    built = build_series(what, [target_of(what, far), target_of(what, near)], FAST, report=told.append)
    assert [each.came_from for each in built] == [1, REFERENCE]
    assert [line.split()[0] for line in told] == ["state=1", "state=0"]
    for each, truth in zip(built, (far, near), strict=True):
        assert np.sqrt(((each.positions_xyz - truth) ** 2).sum(-1).mean()) < 1.5
    path = morph([each.positions_xyz for each in built], what, frames=3)
    assert len(path) == 5
    assert np.array_equal(path[[0, -1]], np.stack([each.positions_xyz for each in built]))
    steps = np.sqrt(((path[1:] - path[:-1]) ** 2).sum(-1).mean(-1))
    assert steps.max() < 2 * steps.min()


@pytest.mark.shared
@pytest.mark.slow
def test_a_model_of_noise_is_found_out_by_the_voxels_that_were_held_back(calmodulin: AtomicModel):
    what = subject(calmodulin, FAST)
    loose = FAST.model_copy(update={"refinement": ((1e5, 80, 0.1),), "motion_weight": 0.0})
    gaps = []
    for noise in (0.0, 3.0):
        target = target_of(what, calmodulin.positions_xyz, noise)
        (built,) = build_series(what, [target], loose)
        gaps.append(free_fit(what, target, loose, built, calmodulin.positions_xyz).gap)
    assert gaps[1] > gaps[0] + 0.05


@pytest.mark.shared
def test_density_of_a_ligand_does_not_pull_the_protein(calmodulin: AtomicModel):
    ligand = calmodulin.positions_xyz[:20] + np.array([9.0, 0.0, 0.0], dtype=np.float32)
    carries = Passengers((ligand,), (np.full(20, 15),))
    what, alone = subject(calmodulin, FAST, None, carries), subject(calmodulin, FAST)
    both = np.concatenate([calmodulin.positions_xyz, ligand])
    amplitude = torch.cat([what.amplitude, torch.full((20,), 15.0)])
    drawn = render_gaussian(torch.from_numpy(both)[None], amplitude[None], GRID, RESOLUTION)[0]
    target = make_target(DensityMap(drawn.numpy(), GRID), RESOLUTION)
    moves = [
        np.abs(fit_motion(calmodulin.positions_xyz, each, target, FAST, 10.0) - calmodulin.positions_xyz).max()
        for each in (what, alone)
    ]
    assert moves[0] < 0.5 * moves[1]


@pytest.mark.shared
def test_a_fit_that_leaves_all_bounds_says_so(calmodulin: AtomicModel):
    what = subject(calmodulin, FAST)
    wild = FAST.model_copy(update={"motion_weight": float("nan"), "motion_steps": 3})
    with pytest.raises(TrainingError, match="left all bounds"):
        fit_motion(calmodulin.positions_xyz, what, target_of(what, calmodulin.positions_xyz), wild, 40.0)
