import numpy as np
import pytest
import torch

from cryofound.errors import StructureError
from cryofound.evaluation.map_model import MapModelScore, map_model_score
from cryofound.evaluation.scored_model import ScoredModel, read_scored_models
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_electron
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide

GRID = Grid((26, 30, 34), 1.0, (-10.0, -14.0, -12.0))
TRUE_B = 80.0


@pytest.fixture(scope="module")
def peptide(tmp_path_factory) -> ScoredModel:
    model = made_peptide(["ALA", "TRP", "SER", "VAL", "PHE"])
    positions = model.positions_xyz - model.positions_xyz.mean(0) + [6.0, 0.5, 0.5]
    path = tmp_path_factory.mktemp("model") / "peptide.cif"
    write_ensemble(path, model, positions[None], np.full(model.n_atoms, 5.0))
    return read_scored_models(path)[0]


@pytest.fixture(scope="module")
def density(peptide) -> DensityMap:
    atoms = list(peptide.structure[0].all())
    numbers = torch.tensor([[each.atom.element.atomic_number for each in atoms]])
    b_factor = torch.full(numbers.shape, TRUE_B, dtype=torch.float64)
    xyz = torch.from_numpy(peptide.positions_xyz)[None]
    drawn = render_electron(xyz, numbers, b_factor, torch.ones_like(b_factor), GRID)
    return DensityMap(drawn[0].numpy().astype(np.float32), GRID)


@pytest.fixture(scope="module")
def fitted(peptide, density, tmp_path_factory) -> MapModelScore:
    return map_model_score(density, peptide, 2.5, tmp_path_factory.mktemp("scratch"))


def test_the_model_that_a_map_was_drawn_from_fits_it_and_its_b_factor_is_found(fitted, peptide):
    assert fitted.fitted
    assert fitted.b_factor.mean() == pytest.approx(TRUE_B, rel=0.1)
    assert min(fitted.cc_mask, fitted.cc_volume, fitted.cc_peaks, fitted.cc_box) > 0.97
    assert fitted.cc_mask > fitted.cc_mask_as_given
    # it was drawn with one B-factor
    assert fitted.cc_mask_one_b == pytest.approx(fitted.cc_mask, abs=0.005)
    assert set(fitted.cc_residue) == set(peptide.residues)
    assert min(fitted.cc_residue.values()) > 0.95
    assert fitted.shells.correlation[fitted.shells.frequency < 0.4].min() > 0.98


def test_b_factors_can_be_kept_and_scale_of_the_map_does_not_matter(fitted, peptide, density, tmp_path):
    louder = DensityMap(70 * density.values_zyx, GRID)
    kept = map_model_score(louder, peptide, 2.5, tmp_path, keep_b=True)
    assert not kept.fitted
    assert kept.cc_mask_one_b is None
    assert kept.b_factor.tolist() == [5.0] * len(peptide.positions_xyz)
    assert kept.cc_mask == pytest.approx(fitted.cc_mask_as_given, abs=1e-5)


def test_a_model_beside_its_density_fits_less_well_everywhere(fitted, peptide, density, tmp_path):
    moved = DensityMap(density.values_zyx, Grid(GRID.shape_zyx, 1.0, (-10.0, -12.0, -12.0)))
    beside = map_model_score(moved, peptide, 2.5, tmp_path, keep_b=True)
    assert beside.cc_mask < fitted.cc_mask_as_given - 0.2
    assert all(beside.cc_residue[each] < cc for each, cc in fitted.cc_residue.items())


def test_a_model_outside_its_map_is_refused_with_both_places(peptide, density, tmp_path):
    elsewhere = DensityMap(density.values_zyx, Grid(GRID.shape_zyx, 1.0, (300.0, 0.0, 0.0)))
    with pytest.raises(StructureError, match=r"lie outside the map.*300.0 to 333.0.*dock the model") as raised:
        map_model_score(elsewhere, peptide, 2.5, tmp_path)
    assert "\n" not in str(raised.value)
