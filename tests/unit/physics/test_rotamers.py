"""The rotamer term: known rotamers, symmetry, gradient and descent, the shipped table against its source."""

import tarfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cryofound.errors import SourceError
from cryofound.physics.rotamers import (
    CHI_PATHS,
    CLASSES,
    RotamerResidues,
    derive_tables,
    rotamer_class,
    rotamer_distance,
    rotamer_excess,
    rotamer_residues,
)
from cryofound.structure.atomic_model import ATOM_NAMES
from tests.made_peptides import made_peptide, placed
from tests.made_proteins import made_protein

# Central chi angles of common rotamers (Top8000), and chi angles that hardly any residue has.
COMMONEST = {
    "ARG": (-67, 180, -179, 177), "ASN": (-70, -42), "ASP": (-69, -29), "CYS": (-65,), "GLN": (-67, 179, -4),
    "GLU": (-67, 179, -7), "HIS": (-64, -75), "ILE": (-63, 169), "LEU": (-66, 174), "LYS": (-68, -179, -179, 179),
    "MET": (-66, -61, -69), "PHE": (-67, -81), "PRO": (-25, 36), "SER": (66,), "THR": (61,), "TRP": (-67, 97),
    "TYR": (-67, -81), "VAL": (176,),
}  # fmt: skip
ECLIPSED = {name: (0.0, *[0.0] * (len(chi) - 1)) for name, chi in COMMONEST.items()} | {
    "ASN": (-120, 90), "ASP": (120, 90), "PRO": (120, 0), "THR": (-120,), "VAL": (-120,), "SER": (-120,), "CYS": (0,),
}  # fmt: skip


def residue_at(name: str, *chi: float) -> tuple[Tensor, RotamerResidues]:
    """Positions (1, atom, 3) float64 of one residue with these chi angles, and its row."""
    model = made_peptide([name])
    row = {ATOM_NAMES[atom]: at for at, atom in enumerate(model.atom_name)}
    positions = model.positions_xyz.astype(np.float64)
    path = CHI_PATHS[name].split()
    for first, angle in enumerate(chi):
        a, b, c, d = (row[atom] for atom in path[first : first + 4])
        positions[d] = placed(positions[a], positions[b], positions[c], 1.5, 112.0, angle)
    return torch.from_numpy(positions)[None], rotamer_residues(model)


@pytest.mark.parametrize("name", CHI_PATHS)
def test_the_commonest_rotamer_is_favored_and_an_eclipsed_one_an_outlier(name: str):
    here = residue_at(name, *COMMONEST[name])
    assert CLASSES[rotamer_class(*here).item()] == "favored"
    assert rotamer_distance(*here).item() < -3
    assert rotamer_excess(*here).item() == 0
    there = residue_at(name, *ECLIPSED[name])
    assert CLASSES[rotamer_class(*there).item()] == "outlier"
    assert rotamer_excess(*there).item() == rotamer_distance(*there).item() > 3


@pytest.mark.parametrize(("name", "chi"), [("ASP", (-70,)), ("GLU", (-67, 179)), ("PHE", (-67,)), ("TYR", (180,))])
def test_half_a_turn_of_a_symmetric_end_changes_nothing(name: str, chi: tuple[float, ...]):
    for last in (-80.0, -10.0, 40.0):
        torch.testing.assert_close(
            rotamer_distance(*residue_at(name, *chi, last)), rotamer_distance(*residue_at(name, *chi, last + 180.0))
        )


def test_the_end_of_asparagine_is_not_symmetric():
    assert rotamer_class(*residue_at("ASN", -175, 0)).item() == 2
    assert rotamer_class(*residue_at("ASN", -175, 180)).item() < 2


@pytest.mark.parametrize("name", ["VAL", "TRP", "MET", "LYS"])
def test_the_distance_has_no_seam(name: str):
    for which in range(len(COMMONEST[name])):
        for seam in (0.0, 180.0):
            chi = np.array(COMMONEST[name], dtype=float)
            chi[which] = seam
            step = 1e-4 * np.eye(len(chi))[which]
            before, after = (rotamer_distance(*residue_at(name, *(chi + way * step))).item() for way in (-1, 1))
            assert before == pytest.approx(after, abs=0.01)


def test_the_distance_to_the_edge_of_valine_is_the_angle_to_it():
    # chi1 = 120 is eclipsed and far from both p and t: a turn by the distance itself leads to the edge.
    distance = rotamer_distance(*residue_at("VAL", 120.0)).item()
    edges = [abs(rotamer_distance(*residue_at("VAL", 120.0 + way * distance)).item()) for way in (-1, 1)]
    assert distance > 10
    assert min(edges) < 0.2


@pytest.mark.parametrize("name", ["SER", "LEU", "GLU", "ARG"])
def test_excess_has_the_gradient_of_its_value(name: str):
    chi = np.array(ECLIPSED[name]) + np.array([3.3, 2.1, 1.7, 4.4])[: len(ECLIPSED[name])]
    positions, residues = residue_at(name, *chi)
    assert rotamer_excess(positions, residues).item() > 0
    assert torch.autograd.gradcheck(lambda xyz: rotamer_excess(xyz, residues), positions.requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("name", ["VAL", "LEU", "MET", "LYS", "ARG", "PHE"])
def test_outliers_turn_home(name: str):
    rng = np.random.default_rng(0)
    tried = [residue_at(name, *rng.uniform(-180, 180, len(COMMONEST[name]))) for _ in range(40)]
    residues = tried[0][1]
    positions = torch.cat([each for each, _ in tried])
    positions = positions[rotamer_class(positions, residues)[:, 0] == 0].requires_grad_()
    assert len(positions) > 10
    optimizer = torch.optim.Adam([positions], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        rotamer_excess(positions, residues, 3.0).square().sum().backward()
        optimizer.step()
    assert (rotamer_class(positions, residues) > 0).all()


def test_rows_are_the_residues_with_whole_side_chains():
    model = made_peptide("ALA LYS GLY PRO TRP VAL".split())
    residues = rotamer_residues(model)
    assert residues.residue.tolist() == [1, 3, 4, 5]
    atoms = residues.atoms.numpy()
    assert [ATOM_NAMES[row] for row in model.atom_name[atoms[0, 3]]] == ["CG", "CD", "CE", "NZ"]
    assert (model.residue_index[atoms] == residues.residue.numpy()[:, None, None]).all()
    stubs = rotamer_residues(made_protein(30))  # side chains of CB alone
    assert rotamer_class(torch.zeros(2, 150, 3), stubs).shape == (2, 0)


def test_batches_are_independent():
    (first, residues), (second, _) = residue_at("GLN", -66, 179, -4), residue_at("GLN", 30, 20, 10)
    both = rotamer_distance(torch.cat([first, second]), residues)
    assert both[0].item() == rotamer_distance(first, residues).item()
    assert both[1].item() == rotamer_distance(second, residues).item()


@pytest.mark.shared
def test_the_shipped_table_is_what_the_source_gives(rotarama_data: Path):
    derived = derive_tables(rotarama_data)
    with files("cryofound.physics").joinpath("tables", "rotamers.npz").open("rb") as stream:
        shipped = dict(np.load(stream, allow_pickle=False))
    assert derived.keys() == shipped.keys()
    assert all(np.array_equal(derived[name], shipped[name]) for name in shipped)


@pytest.fixture
def rotarama_data(shared_data: Path, tmp_path: Path) -> Path:
    """MolProbity's grids, unpacked."""
    with tarfile.open(shared_data / "molprobity" / "chem_data" / "chem_data_min.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "chem_data" / "rotarama_data"


def test_a_missing_grid_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match="rota8000-arg"):
        derive_tables(tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_gives_the_same_numbers():
    positions, residues = residue_at("LYS", 30.0, 20.0, -100.0, 75.0)
    there = rotamer_distance(positions.cuda(), residues.to(torch.device("cuda"))).cpu()
    torch.testing.assert_close(there, rotamer_distance(positions, residues))
