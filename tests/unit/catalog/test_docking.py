"""Whether a reference lies in its map is told as the data's own description tells it."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.catalog.docking import docking
from cryofound.maps.density_map import DensityMap
from cryofound.maps.mrc import read_map
from cryofound.structure.reading import read_model
from tests.made_proteins import made_protein, random_rotation
from tests.unit.catalog.made_series import GRID, made_density


def test_a_model_in_its_own_density_is_docked_and_a_turned_or_shifted_one_is_not() -> None:
    model = made_protein(60)
    density, ca = made_density(model), model.ca_xyz()
    assert docking(density, ca).docked
    centre = ca.mean(0)
    for seed in range(3):
        assert not docking(density, (ca - centre) @ random_rotation(seed).T + centre).docked
    away = docking(density, ca + 200.0)
    assert (away.inside, away.docked) == (0.0, False)


def test_the_figures_have_closed_forms() -> None:
    values = np.zeros(GRID.shape_zyx, dtype=np.float32)
    values[3, 4, 5] = 1.0
    place = np.array(GRID.origin_xyz) + GRID.voxel_size * np.array([5, 4, 3])
    met = docking(DensityMap(values, GRID), np.stack([place, place + 1000.0]))
    share = 1 / values.size
    assert met.inside == 0.5
    assert met.density == pytest.approx((0.5 - share) / np.sqrt(share * (1 - share)), rel=1e-6)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("density", "model", "docked"),
    [
        ("emd3488_5ni1/emd_3488.mrc", "emd3488_5ni1/5ni1_updated.cif.gz", True),
        ("emd3488_5ni1/emd_3488.mrc", "emd3488_5ni1/modelangelo_5ni1.cif.gz", False),
        ("emd21457seg_6vyb/emd_21457_seg_nstart.mrc", "emd21457seg_6vyb/6vyb_Ndom.pdb.gz", True),
        ("box_5ly6/5ly6_box.ccp4", "box_5ly6/5ly6_box_complete.pdb.gz", True),
        ("box_3j8x/chain_K_box.ccp4", "box_3j8x/1bg2_K_fitted.pdb.gz", True),
        ("box_emd6272/6272.mrc", "box_emd6272/6272.pdb.gz", True),
    ],
)
def test_real_maps(density: str, model: str, docked: bool, shared_data: Path) -> None:
    maps = shared_data / "maps"
    assert docking(read_map(maps / density), read_model(maps / model).ca_xyz()).docked is docked
