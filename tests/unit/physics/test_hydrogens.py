"""Riding hydrogens: their number, their geometry, and what they do where atoms are missing."""

import numpy as np
import pytest
import torch
from biotite.structure import info

from cryofound.physics.hydrogens import heavy_bonds, place_hydrogens, riding_hydrogens
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from tests.made_proteins import made_protein, random_rotation

# Within a chain at neutral pH, histidine with both of its hydrogens, without those of OH and SH.
NUMBERS = {
    "ALA": 5, "ARG": 13, "ASN": 6, "ASP": 4, "CYS": 4, "GLN": 8, "GLU": 6, "GLY": 3, "HIS": 8, "ILE": 11, "LEU": 11,
    "LYS": 13, "MET": 9, "PHE": 9, "PRO": 7, "SER": 4, "THR": 6, "TRP": 10, "TYR": 8, "VAL": 9,
}  # fmt: skip
STANDARD = RESIDUE_TYPES[:-1]


def residue(name: str) -> tuple[AtomicModel, dict[str, np.ndarray]]:
    """One residue in the ideal geometry of the wwPDB's dictionary, and its hydrogens there by their parent's name."""
    atoms = info.residue(name)
    heavy = [row for row in range(len(atoms)) if atoms.element[row] != "H" and atoms.atom_name[row] != "OXT"]
    rows = sorted(heavy, key=lambda row: ATOM_NAMES.index(atoms.atom_name[row]))
    model = AtomicModel(
        positions_xyz=atoms.coord[rows],
        atom_name=np.array([ATOM_NAMES.index(atoms.atom_name[row]) for row in rows]),
        element=np.array([ELEMENTS.index(atoms.element[row]) for row in rows]),
        residue_index=np.zeros(len(rows), dtype=np.int64),
        residue_type=np.array([RESIDUE_TYPES.index(name)]),
        residue_number=np.array([1]),
        chain_id=np.array(["A"]),
    )
    hydrogens: dict[str, list[np.ndarray]] = {}
    for first, second in info.bonds_in_residue(name):
        for parent, child in ((first, second), (second, first)):
            if atoms.element[atoms.atom_name == child][0] == "H":
                hydrogens.setdefault(parent, []).append(atoms.coord[atoms.atom_name == child][0])
    return model, {parent: np.array(placed) for parent, placed in hydrogens.items()}


def without(model: AtomicModel, *names: str) -> AtomicModel:
    keep = ~np.isin(model.atom_name, [ATOM_NAMES.index(name) for name in names])
    return AtomicModel(
        model.positions_xyz[keep],
        model.atom_name[keep],
        model.element[keep],
        model.residue_index[keep],
        model.residue_type,
        model.residue_number,
        model.chain_id,
    )


def placed(model: AtomicModel) -> tuple[np.ndarray, list[str]]:
    hydrogens = riding_hydrogens(model)
    xyz = place_hydrogens(torch.from_numpy(model.positions_xyz)[None].double(), hydrogens)[0].numpy()
    return xyz, [ATOM_NAMES[row] for row in model.atom_name[hydrogens.parent.numpy()]]


@pytest.mark.parametrize("name", STANDARD)
def test_bonds_are_those_of_the_dictionary(name):
    model, _ = residue(name)
    ours = {frozenset(ATOM_NAMES[row] for row in model.atom_name[list(bond)]) for bond in heavy_bonds(model)}
    elements = dict(zip(info.residue(name).atom_name, info.residue(name).element, strict=True))
    theirs = {
        frozenset(bond)
        for bond in info.bonds_in_residue(name)
        if "OXT" not in bond and all(elements[atom] != "H" for atom in bond)
    }
    assert ours == theirs


@pytest.mark.parametrize("name", STANDARD)
def test_hydrogens_lie_where_the_dictionary_has_them(name):
    model, theirs = residue(name)
    ours, parents = placed(model)
    # The nitrogen of a residue alone has no neighbour before it, so its hydrogen is left out.
    assert len(ours) == NUMBERS[name] - (name != "PRO")
    positions = dict(zip((ATOM_NAMES[row] for row in model.atom_name), model.positions_xyz, strict=True))
    for parent in set(parents):
        mine = ours[[row for row, of in enumerate(parents) if of == parent]] - positions[parent]
        other = theirs[parent] - positions[parent]
        assert len(mine) == len(other)
        unit, other_unit = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (mine, other))
        cosine = unit @ other_unit.T
        angle = np.degrees(np.arccos(np.clip(cosine.max(axis=1), -1, 1)))
        assert angle.max() < 12, (parent, angle)
        assert sorted(cosine.argmax(axis=1)) == list(range(len(mine)))


def test_bond_lengths_reach_to_the_electron_cloud():
    for name in STANDARD:
        model, _ = residue(name)
        ours, parents = placed(model)
        rows = riding_hydrogens(model).parent.numpy()
        lengths = np.linalg.norm(ours - model.positions_xyz[rows], axis=1)
        ring = {"CD1", "CD2", "CE1", "CE2", "CE3", "CZ", "CZ2", "CZ3", "CH2"}
        for length, parent in zip(lengths, parents, strict=True):
            if parent == "NZ":
                expected = 0.89
            elif parent[0] == "N":
                expected = 0.86
            else:
                expected = 0.93 if name in ("HIS", "PHE", "TRP", "TYR") and parent in ring else 0.97
            assert length == pytest.approx(expected, abs=1e-5)


def test_amide_hydrogen_lies_in_the_peptide_plane_and_halves_the_angle():
    # C of residue 1, N and CA of residue 2 in the plane z = 0
    xyz = np.zeros((8, 3), dtype=np.float32)
    xyz[2] = (-1.33 * np.cos(0.5), 1.33 * np.sin(0.5), 0)  # C
    xyz[5] = (1.46 * np.cos(0.5), 1.46 * np.sin(0.5), 0)  # CA
    xyz[4] = 0  # N
    xyz[[0, 1, 3, 6, 7]] = [[-4, 1, 1], [-3, 0, 1], [-2, 2, 1], [2, 1, 1.4], [3, 1, 1.4]]
    model = AtomicModel(
        xyz,
        np.array([0, 1, 2, 3] * 2),
        np.array([1, 0, 0, 2] * 2),
        np.repeat([0, 1], 4),
        np.array([20, 20]),
        np.array([1, 2]),
        np.array(["A", "A"]),
    )
    ours, parents = placed(model)
    assert parents == ["N"]
    np.testing.assert_allclose(ours[0], [0, -0.86, 0], atol=1e-6)


def test_atoms_that_are_missing_or_unknown_take_their_hydrogens_with_them():
    model, _ = residue("LYS")
    # CB without CG: it may be bonded to anything
    _, parents = placed(without(model, "CG", "CD", "CE", "NZ"))
    assert sorted(parents) == ["CA"]
    _, parents = placed(without(model, "CB", "CG", "CD", "CE", "NZ"))
    assert parents == []
    other = AtomicModel(
        model.positions_xyz,
        np.where(model.atom_name == ATOM_NAMES.index("CB"), ATOM_NAMES.index("OTHER"), model.atom_name),
        model.element,
        model.residue_index,
        model.residue_type,
        model.residue_number,
        model.chain_id,
    )
    _, parents = placed(other)
    assert not {"CA", "CB", "CG", "OTHER"} & set(parents)


def test_an_empty_table_places_nothing():
    model = without(residue("GLY")[0], "N")
    assert placed(model)[0].shape == (0, 3)


def test_hydrogens_move_with_the_molecule():
    model = made_protein(30, seed=1)
    hydrogens = riding_hydrogens(model)
    assert len(hydrogens.parent) > 30
    positions = torch.from_numpy(model.positions_xyz)[None].double()
    turn, shift = torch.from_numpy(random_rotation(2)), torch.tensor([3.0, -20.0, 7.0], dtype=torch.float64)
    moved = place_hydrogens(positions @ turn.T + shift, hydrogens)
    torch.testing.assert_close(moved, place_hydrogens(positions, hydrogens) @ turn.T + shift, rtol=0, atol=1e-9)


def test_gradient_is_that_of_finite_differences():
    for name in ("LYS", "HIS"):
        model, _ = residue(name)
        hydrogens = riding_hydrogens(model)
        positions = torch.from_numpy(model.positions_xyz)[None].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda xyz, table=hydrogens: place_hydrogens(xyz, table), (positions,))
