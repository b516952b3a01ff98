"""A model finds its way into a made map: from nearby, from anywhere, into the map of the right hand, or not at all."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import body_of
from cryofound.reference.registration import mirrored_in_z, register
from cryofound.reference.rigid_fit import draw
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import residues_of
from tests.made_proteins import made_protein

RESOLUTION = 6.0
GRID = Grid((32, 28, 30), 2.0, (-30.0, -25.0, -35.0))


def lopsided(seed: int = 0) -> AtomicModel:
    """Two lobes of unlike size at an angle, about the origin: no turn brings it near itself."""
    whole = made_protein(80, seed, hinge_degrees=70.0)
    model = residues_of(whole, np.arange(60))
    return model.moved(model.positions_xyz - model.positions_xyz.mean(0))


def map_of(model: AtomicModel, noise: float = 0.02, solvent: float = 0.0) -> DensityMap:
    """The model's density with noise, a share of its highest value."""
    body = body_of(model)
    drawn = draw(body.atoms_xyz, body.electrons, GRID, RESOLUTION)
    random = np.random.default_rng(1).standard_normal(drawn.shape).astype(np.float32)
    return DensityMap(drawn + noise * drawn.max() * random + np.float32(solvent), GRID)


def motion(degrees: float, distance: float, seed: int) -> RigidTransform:
    """A turn by so many degrees about a random axis through the origin, then a shift along a random one."""
    axis, shift = np.random.default_rng(seed).standard_normal((2, 3))
    turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    return RigidTransform(turn, distance * shift / np.linalg.norm(shift))


def rmsd(first_xyz: np.ndarray, second_xyz: np.ndarray) -> float:
    return float(np.sqrt(((first_xyz - second_xyz) ** 2).sum(1).mean()))


@pytest.mark.parametrize("seed", range(4))
def test_a_model_docked_roughly_goes_home(seed: int) -> None:
    model = lopsided()
    away = motion(15, 4, seed)
    found = register(
        model.moved(away.apply(model.positions_xyz)),
        map_of(model, solvent=3.0),
        resolution=RESOLUTION,
        roughly_docked=True,
        check_hand=False,
    )
    assert found.how == "refined"
    assert found.score > 0.95
    assert rmsd(found.transform.after(away).apply(model.positions_xyz), model.positions_xyz) < 0.1


def test_a_model_in_another_frame_is_found_and_both_frames_lead_to_the_same_pose() -> None:
    model = lopsided()
    density = map_of(model)
    placed = []
    for away in (motion(140, 300, 5), motion(65, 40, 6)):
        found = register(
            model.moved(away.apply(model.positions_xyz)),
            density,
            resolution=RESOLUTION,
            roughly_docked=False,
            check_hand=False,
        )
        assert found.how == "searched"
        assert found.stands_out
        placed.append(found.transform.after(away).apply(model.positions_xyz))
    assert rmsd(placed[0], model.positions_xyz) < 0.1
    assert rmsd(placed[0], placed[1]) < 0.02


def test_the_better_of_near_and_far_is_taken_where_nothing_is_said() -> None:
    model = lopsided()
    density = map_of(model)
    for away, how in ((motion(10, 2, 0), "refined"), (motion(150, 6, 0), "searched")):
        moved = model.moved(away.apply(model.positions_xyz))
        found = register(moved, density, resolution=RESOLUTION, check_hand=False)
        assert found.how == how
        assert rmsd(found.transform.apply(moved.positions_xyz), model.positions_xyz) < 0.1


def test_a_mirrored_map_is_called_mirrored_and_the_other_is_not() -> None:
    model = lopsided()
    density = map_of(model)
    right = register(model, density, resolution=RESOLUTION, roughly_docked=True)
    assert not right.mirrored
    assert right.advice is None
    wrong = register(model, mirrored_in_z(density), resolution=RESOLUTION, roughly_docked=False)
    assert wrong.mirrored
    assert wrong.mirrored_score == pytest.approx(right.score, abs=0.01)
    assert wrong.advice is not None
    assert f"{wrong.mirrored_score:.3f} against {wrong.score:.3f}" in wrong.advice


def test_the_same_twice_to_the_last_bit() -> None:
    model, away = lopsided(), motion(25, 6, 3)
    moved, density = model.moved(away.apply(model.positions_xyz)), map_of(model)
    first, second = (
        register(moved, density, resolution=RESOLUTION, roughly_docked=True, check_hand=False) for _ in range(2)
    )
    np.testing.assert_array_equal(first.transform.rotation, second.transform.rotation)
    np.testing.assert_array_equal(first.transform.shift, second.transform.shift)


def test_another_protein_has_no_pose_that_stands_out() -> None:
    noise = np.random.default_rng(2).standard_normal(GRID.shape_zyx).astype(np.float32)
    with pytest.raises(StructureError, match=r"no pose stands out: the best has NCC 0\.\d+, another 0\.\d+") as error:
        register(lopsided(), DensityMap(noise, GRID), resolution=RESOLUTION, roughly_docked=False, check_hand=False)
    assert "dock the model roughly by hand" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_registered_is_refused_in_words() -> None:
    model = lopsided()
    density = map_of(model)
    with pytest.raises(StructureError, match="5 residues cannot be placed by its shape, 10"):
        register(residues_of(model, np.arange(5)), density, resolution=RESOLUTION)
    with pytest.raises(MapError, match=r"constant \(0\.5\)"):
        register(model, DensityMap(np.full(GRID.shape_zyx, 0.5, np.float32), GRID), resolution=RESOLUTION)
    with pytest.raises(StructureError, match=r"extends .* A, the map only 56 x 60 x 64 A"):
        register(model.moved(3 * model.positions_xyz), density, resolution=RESOLUTION)
    with pytest.raises(StructureError, match=r"outside the map, which spans x -30\.0 to 28\.0"):
        register(model.moved(model.positions_xyz + 500), density, resolution=RESOLUTION, roughly_docked=True)
