"""Ensembles against maps drawn from models that are known."""

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.coverage import coverage
from cryofound.evaluation.ensemble_maps import TargetMap, correlations_with_maps, map_metrics
from cryofound.evaluation.sample_file import Samples, gather, in_one_frame
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import body_of
from cryofound.reference.rigid_fit import draw
from cryofound.structure.atomic_model import AtomicModel
from tests.made_complexes import elsewhere, turn_about_z
from tests.made_proteins import made_protein

RESOLUTION = 5.0
HINGED = [made_protein(40, hinge_degrees=angle) for angle in (0.0, 40.0)]


def drawn(model: AtomicModel, name: str) -> TargetMap:
    values = draw(model.positions_xyz, body_of(model).electrons, Grid.centred(44, 1.6), RESOLUTION)
    return TargetMap(name, DensityMap(values, Grid.centred(44, 1.6)), RESOLUTION)


@pytest.fixture
def samples(tmp_path) -> Samples:
    models = ((f"sample {row}", elsewhere(each, row + 1)) for row, each in enumerate(HINGED))
    (found,) = in_one_frame([gather("samples", models, tmp_path / "samples")], HINGED[0])
    return found


def test_every_sample_is_laid_into_every_map_and_its_own_fits_best(samples, tmp_path):
    # The maps are a little away from where the reference is, each another way.
    moves = [RigidTransform(turn_about_z(angle), np.array([1.0, -2.0, 1.5])) for angle in (8.0, -6.0)]
    maps = [
        drawn(each.moved(move.apply(each.positions_xyz)), f"map {row}")
        for row, (each, move) in enumerate(zip(HINGED, moves, strict=True))
    ]
    cache, done = tmp_path / "cache", []
    (found,) = correlations_with_maps([samples], maps, samples.model, cache, advance=done.append)
    assert found.shape == (2, 2)
    assert sum(done) == 4
    assert (found.diagonal() > 0.9).all()
    assert (found[[0, 1], [1, 0]] < found.diagonal() - 0.05).all()
    metrics = map_metrics(found, maps)
    expected = coverage(np.sqrt(1 - found))
    assert metrics["map_distance_recall"] == pytest.approx(expected.recall)
    # What is known is not computed again, and another map is.
    names = {path.name for path in cache.iterdir()}
    (again,) = correlations_with_maps([samples], maps, samples.model, cache)
    np.testing.assert_array_equal(again, found)
    assert {path.name for path in cache.iterdir()} == names
    assert len(names) == 2


def test_both_forms_of_the_distance_have_their_closed_form():
    cc = np.array([[0.91, 0.51], [0.75, 0.84]])
    maps = [TargetMap(name, drawn(HINGED[0], name).density, 5.0, share) for name, share in (("a", 3.0), ("b", 1.0))]
    found = map_metrics(cc, maps)
    assert found["map_distance_precision"] == pytest.approx((0.3 + 0.4) / 2)
    assert found["map_squared_precision"] == pytest.approx((0.09 + 0.16) / 2)
    assert found["map_distance_recall"] == pytest.approx(0.75 * 0.3 + 0.25 * 0.4)
    assert found["map_squared_recall"] == pytest.approx(0.75 * 0.09 + 0.25 * 0.16)
    # half of the weight goes from sample 0 to a, a quarter each from sample 1 to both
    assert found["map_squared_wasserstein"] == pytest.approx(0.5 * 0.09 + 0.25 * 0.25 + 0.25 * 0.16)
    assert found["map_distance_wasserstein"] == pytest.approx(np.sqrt(found["map_squared_wasserstein"]))
    assert found["cc_volume_best"] == 0.91


def test_a_map_that_is_too_small_or_elsewhere_is_refused(samples, tmp_path):
    whole = drawn(HINGED[0], "map").density
    small = DensityMap(whole.values_zyx[:, :, :26], Grid((44, 44, 26), 1.6, whole.grid.origin_xyz))
    away = DensityMap(whole.values_zyx, Grid(whole.grid.shape_zyx, 1.6, (500.0, 0.0, 0.0)))
    for density in (small, away):
        with pytest.raises(StructureError, match=r"lie outside the map.* dock the model") as caught:
            correlations_with_maps([samples], [TargetMap("map", density, 5.0)], samples.model, tmp_path / "cache")
        assert "\n" not in str(caught.value)
