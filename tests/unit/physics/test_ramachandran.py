"""Torsions against biotite, the shipped table against its source, and outliers against cctbx."""

from pathlib import Path

import biotite.structure as bts
import numpy as np
import pytest
import torch

from cryofound.errors import SourceError
from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.ramachandran import (
    CLASSES,
    RamachandranResidues,
    allowed_distance,
    derive_table,
    dihedral,
    ramachandran_excess,
    ramachandran_residues,
)
from cryofound.structure.reading import read_model


def test_dihedral_agrees_with_biotite():
    points = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    atoms = torch.tensor([[0, 1, 2, 3], [3, 9, 4, 7]])
    ours = dihedral(points.movedim(0, 1), torch.tensor([[0, 1, 2, 3]]))[:, 0]
    theirs = bts.dihedral(*points.numpy())
    assert ours.numpy() == pytest.approx(theirs, abs=1e-5)
    assert dihedral(points[:, :10], atoms).shape == (4, 2)


def test_distance_is_zero_well_inside_and_grows_towards_the_empty_part():
    general = allowed_distance()[CLASSES.index("general")]

    def row(degrees: float) -> int:
        return round((degrees + 179) / 2)

    assert general[row(-63), row(-43)] < -10  # the helix
    assert general[row(121), row(-59)] > 20  # next to nothing lives here
    assert general[row(1), row(1)] > general[row(121), row(-59)]


def test_excess_has_the_gradient_of_its_value():
    positions = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2
    residues = RamachandranResidues(torch.tensor([[0, 1, 2, 3, 4]]), torch.tensor([2]))
    positions.requires_grad_()
    assert ramachandran_excess(positions, residues, 30.0).item() > 0
    assert torch.autograd.gradcheck(lambda xyz: ramachandran_excess(xyz, residues, 30.0), positions, atol=1e-4)


@pytest.mark.shared
def test_the_shipped_table_is_what_the_source_gives(shared_data: Path):
    folder = shared_data / "molprobity" / "top8000" / "Top8000_ramachandran_pct_contour_grids"
    assert np.array_equal(derive_table(folder), allowed_distance().numpy())


def test_a_missing_grid_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match="rama8000-general"):
        derive_table(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["calmodulin/seed/4cln.pdb", "calmodulin/seed/1rfj_final.cif"])
def test_outliers_agree_with_ramalyze_on_a_shaken_structure(shared_data: Path, name: str):
    model = read_model(shared_data / name)
    shaken = model.positions_xyz + np.random.default_rng(0).normal(0, 0.15, model.positions_xyz.shape).astype(
        np.float32
    )
    residues = ramachandran_residues(model, bonded_to_next(model))
    ours = int((ramachandran_excess(torch.from_numpy(shaken)[None], residues) > 0).sum())
    theirs = ramachandran(model, shaken[None])
    assert theirs is not None
    assert int(theirs.outliers[0]) > 8
    # the edge of the region is known to a grid cell
    assert ours == pytest.approx(int(theirs.outliers[0]), abs=0.03 * model.n_residues)
