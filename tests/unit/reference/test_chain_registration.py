"""Chains of a made dimer find their places in a map whose assembly is another than the model's."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.chain_registration import register_chains
from cryofound.reference.poses import body_of
from cryofound.reference.rigid_fit import draw
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chains_of, joined, residues_of
from tests.made_complexes import named
from tests.made_proteins import made_protein, random_rotation

RESOLUTION = 6.0
GRID = Grid((24, 28, 42), 2.0, (-42.0, -28.0, -24.0))
PLACES = {
    "A": RigidTransform(np.eye(3), np.array([-20.0, 0.0, 0.0])),
    "B": RigidTransform(Rotation.from_euler("zx", [100, 30], degrees=True).as_matrix(), np.array([18.0, 2.0, 0.0])),
}


def chain() -> AtomicModel:
    whole = made_protein(80, 0, hinge_degrees=70.0)
    model = residues_of(whole, np.arange(60))
    return model.moved(model.positions_xyz - model.positions_xyz.mean(0))


def placed(places: dict[str, RigidTransform]) -> AtomicModel:
    one = chain()
    return joined([named(one.moved(place.apply(one.positions_xyz)), name) for name, place in places.items()])


def map_of(model: AtomicModel) -> DensityMap:
    body = body_of(model)
    drawn = draw(body.atoms_xyz, body.electrons, GRID, RESOLUTION)
    noise = np.random.default_rng(0).standard_normal(drawn.shape).astype(np.float32)
    return DensityMap(drawn + 0.02 * drawn.max() * noise, GRID)


def test_copies_take_the_places_that_keep_the_arrangement_and_each_its_own_transform() -> None:
    truth = placed(PLACES)
    bent = RigidTransform(Rotation.from_euler("y", 35, degrees=True).as_matrix(), np.array([3.0, -4.0, 2.0]))
    away = RigidTransform(random_rotation(4), np.array([90.0, -30.0, 10.0]))
    # The chain that lies where B is comes first, under the name A; no rigid motion brings both home.
    one = chain()
    model = joined(
        [
            named(one.moved(away.after(PLACES["B"].after(bent)).apply(one.positions_xyz)), "A"),
            named(one.moved(away.after(PLACES["A"]).apply(one.positions_xyz)), "B"),
        ]
    )
    found = register_chains(model, map_of(truth), resolution=RESOLUTION, check_hand=False)
    assert list(found.chains) == ["A", "B"]
    expected, ours = chains_of(truth), chains_of(found.placed)
    for name, other in (("A", "B"), ("B", "A")):
        distance = np.linalg.norm(ours[name].positions_xyz - expected[other].positions_xyz, axis=1)
        assert np.sqrt((distance**2).mean()) < 0.1
        moved = found.chains[name].transform.apply(chains_of(model)[name].positions_xyz)
        np.testing.assert_allclose(moved, ours[name].positions_xyz, atol=1e-3)
    assert found.score > 0.95
    assert found.advice is None


def test_a_chain_whose_density_is_not_there_is_named() -> None:
    one = map_of(placed({"A": PLACES["A"]}))
    with pytest.raises(StructureError, match=r"chain B: no pose stands out.*leave it out"):
        register_chains(placed(PLACES), one, resolution=RESOLUTION, check_hand=False)
