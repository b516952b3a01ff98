"""Restraints against closed forms, invariances and a descent; other programs are asked in tests/oracles."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryofound.physics.omega import omega_deviation, omega_term, peptides
from cryofound.physics.restraint_table import ideal_values
from cryofound.physics.restraints import (
    RestraintRows,
    Restraints,
    bond_angles,
    bond_lengths,
    residue_sums,
    restraint_deviation,
    restraint_rms,
    restraint_rows,
    restraint_term,
    volumes,
    wrong_hands,
)
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel
from tests.made_peptides import made_peptide, placed
from tests.made_proteins import random_rotation

EVERY_TYPE = list(RESIDUE_TYPES[:20])


def xyz_of(model: AtomicModel) -> torch.Tensor:
    return torch.from_numpy(model.positions_xyz).double()[None]


def without(model: AtomicModel, gone: np.ndarray) -> AtomicModel:
    kept = {name: getattr(model, name)[~gone] for name in ("positions_xyz", "atom_name", "element", "residue_index")}
    return replace(model, **kept)


def named_rows(model: AtomicModel, rows: RestraintRows) -> dict[str, tuple[float, float]]:
    """Target and sigma by what the atoms are called, as `3 CG 3 CB`."""

    def name(atom: int) -> str:
        return f"{model.residue_index[atom]} {ATOM_NAMES[model.atom_name[atom]]}"

    values = zip(rows.target.tolist(), rows.sigma.tolist(), strict=True)
    return {" ".join(map(name, atoms)): value for atoms, value in zip(rows.index.tolist(), values, strict=True)}


def kinds(restraints: Restraints) -> tuple[RestraintRows, RestraintRows, RestraintRows]:
    return restraints.bonds, restraints.angles, restraints.volumes


def test_water_a_stretched_bond_and_the_corner_of_a_cube():
    apex = np.radians(104.52)
    water = 0.9572 * torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [np.cos(apex), np.sin(apex), 0.0]]]).double()
    assert bond_angles(water, torch.tensor([[0, 1, 2]])).item() == pytest.approx(104.52, abs=1e-4)
    assert bond_lengths(water, torch.tensor([[1, 2]])).item() == pytest.approx(0.9572, abs=1e-6)
    cube = torch.cat([torch.zeros(1, 3), torch.eye(3)])[None]
    assert volumes(cube, torch.tensor([[0, 1, 2, 3], [0, 2, 1, 3]])).tolist() == [[1.0, -1.0]]
    model = made_peptide(["GLY"])
    bonds = restraint_rows(model).bonds
    row = bonds.index.tolist().index([0, 1])
    stretched = xyz_of(model)
    direction = stretched[0, 0] - stretched[0, 1]
    stretched[0, 0] = stretched[0, 1] + direction / direction.norm() * (bonds.target[row] + 0.05)
    assert restraint_deviation(stretched, bonds)[0, row].item() == pytest.approx(0.05, abs=1e-6)
    assert restraint_term(stretched, bonds)[0, row].item() == pytest.approx(
        0.05**2 / bonds.sigma[row].item() ** 2, rel=1e-4
    )


def test_residues_as_the_chemical_dictionary_draws_them_are_nearly_ideal():
    model = made_peptide(EVERY_TYPE)
    restraints, positions = restraint_rows(model), xyz_of(model)
    assert restraint_rms(positions, restraints.bonds).item() < 0.03
    # the junctions of the made peptide know nothing of proline's ring
    assert restraint_rms(positions, restraints.angles).item() < 4.0
    assert restraint_rms(positions, restraints.volumes).item() < 0.3
    assert not wrong_hands(positions, restraints.volumes).any()


def test_a_turn_changes_nothing_and_a_mirror_image_all_hands():
    model = made_peptide(EVERY_TYPE)
    restraints, positions = restraint_rows(model), xyz_of(model)
    positions = positions + 0.2 * torch.randn(positions.shape, generator=torch.Generator().manual_seed(0)).double()
    turned = positions @ torch.from_numpy(random_rotation(0)) + torch.tensor([7.0, -3.0, 2.0])
    for rows in kinds(restraints):
        torch.testing.assert_close(restraint_term(turned, rows), restraint_term(positions, rows))
    mirror = xyz_of(model) * torch.tensor([1.0, 1.0, -1.0])
    for rows in (restraints.bonds, restraints.angles):
        torch.testing.assert_close(restraint_term(mirror, rows), restraint_term(xyz_of(model), rows))
    chiral = restraints.volumes.target != 0
    # every residue but GLY at CA; ILE, LEU, THR and VAL in the side chain
    assert int(chiral.sum()) == 19 + 4
    assert (wrong_hands(mirror, restraints.volumes) == chiral).all()
    assert (restraint_term(mirror, restraints.volumes)[0, chiral] > 500).all()


def test_gradients_are_right_and_finite_where_atoms_coincide_or_lie_in_line():
    model = made_peptide(["PRO", "HIS", "GLY"])
    restraints = restraint_rows(model)
    positions = xyz_of(model).requires_grad_()
    for rows in kinds(restraints):
        assert torch.autograd.gradcheck(lambda xyz, rows=rows: restraint_deviation(xyz, rows), positions)
        for dtype in (torch.float32, torch.float64):
            for degenerate in (torch.zeros(model.n_atoms, 3), torch.arange(model.n_atoms)[:, None] * torch.ones(3)):
                flat = degenerate.to(dtype)[None].requires_grad_()
                term = restraint_term(flat, rows)
                assert term.dtype == dtype
                term.sum().backward()
                assert flat.grad is not None
                assert torch.isfinite(flat.grad).all()


def test_models_of_a_batch_know_nothing_of_each_other():
    model = made_peptide(["TRP", "CYS", "ARG"])
    pair = torch.cat([xyz_of(model), xyz_of(model) + torch.randn(1, model.n_atoms, 3).double()]).requires_grad_()
    for rows in kinds(restraint_rows(model)):
        both = restraint_term(pair, rows)
        torch.testing.assert_close(both[1:], restraint_term(pair[1:], rows))
        (gradient,) = torch.autograd.grad(both[1].sum(), pair)
        assert not gradient[0].any()
        assert gradient[1].any()


def test_sums_by_residue_add_up_to_the_whole():
    model = made_peptide(EVERY_TYPE)
    for rows in kinds(restraint_rows(model)):
        term = restraint_term(xyz_of(model), rows)
        sums = residue_sums(term, rows.residue, model.n_residues)
        assert sums.shape == (1, 20)
        torch.testing.assert_close(sums.sum(1), term.sum(1))
    moved = xyz_of(model)
    trp = EVERY_TYPE.index("TRP")
    atom = np.flatnonzero((model.residue_index == trp) & (model.atom_name == ATOM_NAMES.index("CH2")))
    moved[0, atom] += 1.0
    bonds = restraint_rows(model).bonds
    change = restraint_term(moved, bonds) - restraint_term(xyz_of(model), bonds)
    assert residue_sums(change, bonds.residue, 20).nonzero().tolist() == [[0, trp]]


def test_rows_of_missing_atoms_are_left_out_and_no_others():
    model = made_peptide(["ALA", "PHE", "ALA"])
    gone = (model.residue_index == 1) & (model.atom_name == ATOM_NAMES.index("CG"))
    lacking = without(model, gone)
    for whole, part in zip(kinds(restraint_rows(model)), kinds(restraint_rows(lacking)), strict=True):
        expected = {row: value for row, value in named_rows(model, whole).items() if "1 CG " not in row + " "}
        assert named_rows(lacking, part) == expected


def test_links_only_between_bonded_residues():
    model = made_peptide(["ALA"] * 3)
    joined = named_rows(model, restraint_rows(model).bonds)
    assert {"0 C 1 N", "1 C 2 N"} <= joined.keys()
    torn = model.positions_xyz.copy()
    torn[model.residue_index == 2] += 4.0
    broken = named_rows(model, restraint_rows(model.moved(torn)).bonds)
    assert joined.keys() - broken.keys() == {"1 C 2 N"}
    chains = replace(model, chain_id=np.array(["A", "B", "B"]))
    assert joined.keys() - named_rows(model, restraint_rows(chains).bonds).keys() == {"0 C 1 N"}


@pytest.mark.parametrize(
    ("following", "omega", "link"),
    [
        ("ALA", 180.0, "peptide"),
        ("ALA", 0.0, "peptide"),
        ("GLY", 175.0, "peptide_glycine"),
        ("PRO", 180.0, "peptide_trans_proline"),
        ("PRO", 10.0, "peptide_cis_proline"),
    ],
)
def test_the_link_is_that_of_the_next_residue_and_its_state(following: str, omega: float, link: str):
    model = made_peptide(["SER", following], omega)
    restraints, values = restraint_rows(model), ideal_values()[link]
    angles = named_rows(model, restraints.angles)
    for row in ("CA C +N", "O C +N", "C +N +CA", "C +N +CD"):
        key = " ".join(f"1 {name[1:]}" if name.startswith("+") else f"0 {name}" for name in row.split())
        assert angles.get(key) == (values[row][:2] if row in values else None)
    planar = named_rows(model, restraints.volumes)
    assert planar["0 C 0 CA 0 O 1 N"][0] == 0.0
    assert ("1 N 0 C 1 CA 1 CD" in planar) == (following == "PRO")


def test_a_disulfide_is_two_sulphurs_near_each_other():
    model = made_peptide(["CYS", "GLY", "CYS"])
    sulphurs = np.flatnonzero(model.atom_name == ATOM_NAMES.index("SG"))
    for distance, bonded in ((2.2, True), (3.0, False)):
        positions = model.positions_xyz.copy()
        positions[sulphurs[1]] = positions[sulphurs[0]] + [0.0, 0.0, distance]
        restraints = restraint_rows(model.moved(positions))
        assert ("0 SG 2 SG" in named_rows(model, restraints.bonds)) == bonded
        angles = named_rows(model, restraints.angles)
        assert {"0 CB 0 SG 2 SG", "0 SG 2 SG 2 CB"} <= angles.keys() or not bonded


def test_the_end_of_a_chain_is_a_flat_carboxylate():
    model = made_peptide(["ALA"])
    n, ca, c = model.positions_xyz[:3].astype(np.float64)
    ended = replace(
        model,
        positions_xyz=np.vstack([model.positions_xyz, placed(n, ca, c, 1.236, 120.6, 130.0)]).astype(np.float32),
        atom_name=np.append(model.atom_name, ATOM_NAMES.index("OXT")),
        element=np.append(model.element, 2),
        residue_index=np.append(model.residue_index, 0),
    )
    restraints = restraint_rows(ended)
    assert "0 C 0 OXT" in named_rows(ended, restraints.bonds)
    assert {"0 CA 0 C 0 OXT", "0 O 0 C 0 OXT"} <= named_rows(ended, restraints.angles).keys()
    end = named_rows(ended, restraints.volumes)
    assert end["0 C 0 CA 0 O 0 OXT"][0] == 0.0


def test_an_unknown_residue_is_held_by_its_backbone():
    model = made_peptide(["ALA", "ALA", "ALA"])
    unknown = replace(model, residue_type=np.array([0, RESIDUE_TYPES.index("UNK"), 0]))
    bonds = named_rows(model, restraint_rows(unknown).bonds).keys()
    assert named_rows(model, restraint_rows(model).bonds).keys() - bonds == {"1 CA 1 CB"}


def test_a_descent_mends_a_shaken_peptide():
    model = made_peptide(EVERY_TYPE)
    restraints, links = restraint_rows(model), peptides(model)
    noise = torch.randn(1, model.n_atoms, 3, generator=torch.Generator().manual_seed(1)) * 0.3 / 3**0.5
    positions = (torch.from_numpy(model.positions_xyz) + noise).requires_grad_()
    assert restraint_rms(positions, restraints.bonds).item() > 0.2
    optimiser = torch.optim.LBFGS([positions], max_iter=200, line_search_fn="strong_wolfe")

    def energy() -> torch.Tensor:
        optimiser.zero_grad()
        total = omega_term(positions, links).sum()
        for rows in kinds(restraints):
            total = total + restraint_term(positions, rows).sum()
        total.backward()
        return total

    optimiser.step(energy)
    assert restraint_rms(positions, restraints.bonds).item() < 0.005
    assert restraint_rms(positions, restraints.angles).item() < 1.0
    assert restraint_rms(positions, restraints.volumes).item() < 0.03
    assert not wrong_hands(positions, restraints.volumes).any()
    assert omega_deviation(positions, links).abs().max().item() < 15.0
