"""A reference that lies in its map is left there; one that does not is found, or said to lie nowhere."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryofound.building.placing import Laid, lay, lie
from cryofound.catalog.entry import Simulation
from cryofound.ensemble.simulation import simulate_map
from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import residues_of
from tests.made_proteins import made_protein

GRID = Grid((34, 30, 32), 2.0, (-32.0, -28.0, -36.0))
COARSE = Grid((17, 15, 16), 4.0, (-32.0, -28.0, -36.0))  # for searches, which take seconds even there


def lopsided(hinge_degrees: float = 70.0) -> AtomicModel:
    """Two lobes of unlike size at an angle, about the origin: no turn brings it near itself."""
    model = residues_of(made_protein(80, hinge_degrees=hinge_degrees), np.arange(60))
    return model.moved(model.positions_xyz - model.positions_xyz.mean(0))


def turned(model: AtomicModel, degrees: float, shift: float) -> AtomicModel:
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.64, 0.48])).as_matrix()
    return model.moved(model.positions_xyz @ turn.T + shift * np.array([0.48, -0.6, 0.64]))


def map_of(model: AtomicModel, grid: Grid = GRID, resolution: float = 6.0) -> DensityMap:
    return DensityMap(simulate_map(model, grid, Simulation(resolution=resolution, noise=0.1), "made"), grid)


def series(density: DensityMap) -> Iterator[tuple[str, DensityMap, float]]:
    """One map that may be read, and a second that must not be."""
    yield "made.mrc", density, 6.0
    raise AssertionError("the second map was read, though the first told enough")


@pytest.mark.parametrize(
    ("degrees", "shift", "fits"), [(0, 0, True), (10, 2, True), (90, 0, False), (180, 0, False), (0, 20, False)]
)
def test_a_model_fits_only_near_its_place(degrees: float, shift: float, fits: bool) -> None:
    found = lie(turned(lopsided(), degrees, shift), map_of(lopsided()), 6.0)
    assert found.fits is fits


def test_another_conformation_fits_too() -> None:
    assert lie(lopsided(95.0), map_of(lopsided()), 6.0).fits


def test_one_that_fits_stays_and_the_search_is_spared() -> None:
    told: list[str] = []
    assert lay(lopsided(), "r.cif", series(map_of(lopsided())), "auto", told.append) is None
    assert told[0].startswith("registration=kept map=made.mrc ncc=0.9")
    assert lay(turned(lopsided(), 90, 200), "r.cif", series(map_of(lopsided())), "never", told.append) is None
    assert len(told) == 1


@pytest.mark.slow
def test_one_in_another_frame_is_brought_home() -> None:
    model, told = lopsided(), []
    away = turned(model, 130, 150)
    found = lay(away, "r.cif", [("made.mrc", map_of(model, COARSE, 12.0), 12.0)], "auto", told.append)
    assert isinstance(found, Laid)
    back = found.transform.apply(away.positions_xyz)
    assert np.sqrt(((back - model.positions_xyz) ** 2).sum(1).mean()) < 1.0
    assert "r.cif does not lie there: 100 % of its atoms lie outside the map" in told[0]
    assert told[1].startswith("registration=found map=made.mrc how=searched ncc=")
    assert np.allclose(found.facts["rotation"], found.transform.rotation)


@pytest.mark.slow
def test_one_that_lies_nowhere_is_one_line_with_a_way_out() -> None:
    noise = np.random.default_rng(3).standard_normal(COARSE.shape_zyx).astype(np.float32)
    with pytest.raises(StructureError) as caught:
        lay(lopsided(), "r.cif", [("noise.mrc", DensityMap(noise, COARSE), 12.0)], "auto", lambda told: None)
    told = str(caught.value)
    assert told.startswith("r.cif lies nowhere in noise.mrc: as given, it correlates ")
    assert "no pose stands out" in told
    assert "--register never" in told
    assert "\n" not in told


def test_a_constant_map_is_named() -> None:
    flat = DensityMap(np.ones(GRID.shape_zyx, dtype=np.float32), GRID)
    with pytest.raises(MapError, match=r"flat.mrc: the map is constant"):
        lay(lopsided(), "r.cif", [("flat.mrc", flat, 6.0)], "auto", lambda told: None)
