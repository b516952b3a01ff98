"""The Ramachandran term: known regions, gradient and descent, the shipped table against its source, and cctbx."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.errors import SourceError
from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.ramachandran import (
    CLASSES,
    RamachandranResidues,
    derive_table,
    ramachandran_distance,
    ramachandran_excess,
    ramachandran_residues,
    region_distance,
)
from cryofound.structure.reading import read_model
from tests.made_peptides import made_peptide, placed
from tests.made_proteins import made_protein

HELIX, SHEET, NOWHERE = (-63.0, -43.0), (-70.0, 150.0), (121.0, -59.0)


def backbone_at(phi: float, psi: float) -> torch.Tensor:
    """(5, 3) float64: C of the residue before, N, CA, C, N of the one after."""
    points = [np.array([0.0, 1.2, 0.3]), np.array([0.0, 0.0, 0.0]), np.array([1.459, 0.0, 0.0])]
    points.append(placed(*points, 1.525, 111.0, phi))
    points.append(placed(*points[1:], 1.334, 116.7, psi))
    return torch.from_numpy(np.stack(points))


def distance_at(phi: float, psi: float, kind: str = "general") -> float:
    residues = RamachandranResidues(torch.arange(5)[None], torch.tensor([CLASSES.index(kind)]), torch.tensor([1]))
    return ramachandran_distance(backbone_at(phi, psi)[None], residues).item()


@pytest.mark.parametrize("kind", CLASSES)
def test_helix_and_sheet_lie_inside_and_the_empty_quarter_outside(kind: str):
    assert distance_at(*HELIX, kind) < -4
    assert distance_at(*SHEET, kind) < -10
    assert kind == "glycine" or distance_at(*NOWHERE, kind) > 10


def test_glycine_is_symmetric_and_alone_at_positive_phi():
    assert distance_at(90.0, 0.0, "glycine") == pytest.approx(distance_at(-90.0, 0.0, "glycine"), abs=1.0)
    assert distance_at(90.0, -170.0, "glycine") < 0 < distance_at(90.0, -170.0, "general")


def test_the_distance_has_no_seam():
    for psi in np.linspace(-180, 180, 19):
        assert distance_at(179.999, psi) == pytest.approx(distance_at(-179.999, psi), abs=0.01)
        assert distance_at(psi, 179.999) == pytest.approx(distance_at(psi, -179.999), abs=0.01)


def test_excess_has_the_gradient_of_its_value():
    positions = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2
    residues = RamachandranResidues(torch.arange(5)[None], torch.tensor([2]), torch.tensor([1]))
    positions.requires_grad_()
    assert (ramachandran_excess(positions, residues, 30.0) > 0).all()
    assert torch.autograd.gradcheck(lambda xyz: ramachandran_excess(xyz, residues, 30.0), positions, atol=1e-4)


def test_an_outlier_walks_home():
    positions = backbone_at(*NOWHERE)[None].requires_grad_()
    residues = RamachandranResidues(torch.arange(5)[None], torch.tensor([0]), torch.tensor([1]))
    optimizer = torch.optim.Adam([positions], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        ramachandran_excess(positions, residues, 5.0).square().sum().backward()
        optimizer.step()
    assert ramachandran_distance(positions, residues).item() < -4


def test_classes_follow_sequence_and_omega():
    model = made_peptide("ALA GLY ILE PRO VAL PRO PRO LEU LEU".split(), omega=(180, 180, 180, 180, 5, 180, 180, 180))
    residues = ramachandran_residues(model, bonded_to_next(model))
    assert [CLASSES[kind] for kind in residues.kind.tolist()] == [
        "glycine", "pre_proline", "trans_proline", "pre_proline", "cis_proline", "trans_proline", "general",
    ]  # fmt: skip
    assert residues.residue.tolist() == list(range(1, 8))


def test_residues_at_a_break_are_left_out_and_rows_point_at_their_residue():
    model = made_protein(12)
    bonded = np.ones(11, dtype=bool)
    bonded[5] = False
    residues = ramachandran_residues(model, bonded)
    assert residues.residue.tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    assert np.array_equal(model.residue_index[residues.atoms[:, 2].numpy()], residues.residue.numpy())


@pytest.mark.shared
def test_the_shipped_table_is_what_the_source_gives(shared_data: Path):
    folder = shared_data / "molprobity" / "top8000" / "Top8000_ramachandran_pct_contour_grids"
    with files("cryofound.physics").joinpath("tables", "ramachandran.npz").open("rb") as stream:
        assert np.array_equal(derive_table(folder), np.load(stream, allow_pickle=False)["percentile"])
    assert region_distance("allowed").shape == (6, 180, 180)


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
    # ramalyze passes over residues that the shaking tore off
    residues = ramachandran_residues(model, bonded_to_next(model.moved(shaken)))
    ours = int((ramachandran_excess(torch.from_numpy(shaken)[None], residues) > 0).sum())
    theirs = ramachandran(model, shaken[None])
    assert theirs is not None
    assert int(theirs.outliers[0]) > 8
    assert ours == pytest.approx(int(theirs.outliers[0]), abs=1)
    assert len(residues.kind) == int(theirs.evaluated[0])
