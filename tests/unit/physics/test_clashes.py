"""The clash term: closed forms for two atoms, what is excluded, and agreement with a plain sum over all pairs."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cryofound.physics.clashes import (
    ACROSS,
    CLASH,
    COUNTED_HEAVY_BOND,
    HEAVY_BOND,
    TOLERANCE,
    ClashTopology,
    clash_overlap,
    clash_score,
    clash_topology,
)
from cryofound.physics.hydrogens import heavy_bonds, place_hydrogens
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from tests.made_peptides import made_peptide
from tests.made_proteins import random_rotation


def lone_atoms(*atoms: tuple[str, str], positions_xyz: Sequence[Sequence[float]]) -> AtomicModel:
    """Atoms (residue type, name), each alone in its residue and chain: nothing is bonded, no hydrogen has a frame."""
    return AtomicModel(
        positions_xyz=np.array(positions_xyz, dtype=np.float32),
        atom_name=np.array([ATOM_NAMES.index(name) for _, name in atoms]),
        element=np.array([ELEMENTS.index(name[0]) for _, name in atoms]),
        residue_index=np.arange(len(atoms)),
        residue_type=np.array([RESIDUE_TYPES.index(kind) for kind, _ in atoms]),
        residue_number=np.arange(len(atoms)),
        chain_id=np.array(list("ABCDEFGH"[: len(atoms)])),
    )


def double(model: AtomicModel) -> Tensor:
    return torch.from_numpy(model.positions_xyz)[None].double()


def squeezed(residues: int = 20) -> AtomicModel:
    """A peptide of every residue type, pressed flat."""
    model = made_peptide(RESIDUE_TYPES[:residues])
    return model.moved(model.positions_xyz * np.array([1.0, 0.3, 1.0], dtype=np.float32))


def overlap_by_all_pairs(
    positions_xyz: Tensor, model: AtomicModel, topology: ClashTopology, tolerance: float
) -> Tensor:
    """The term over the matrix of all distances, bonds counted by breadth-first search, hydrogens among the sites.

    As Probe does: three bonds are too near to count, four if one of the two is a hydrogen.
    """
    sites = torch.cat([positions_xyz, place_hydrogens(positions_xyz, topology.hydrogens)], dim=1)
    count = sites.shape[1]
    bonded: list[set[int]] = [set() for _ in range(count)]
    parents = enumerate(topology.hydrogens.parent.tolist(), start=model.n_atoms)
    for first, second in [*heavy_bonds(model).tolist(), *parents]:
        bonded[first].add(second)
        bonded[second].add(first)
    bonds = torch.full((count, count), 99)
    for site in range(count):
        reached = {site}
        for step in range(6):
            bonds[site, [each for each in reached if bonds[site, each] == 99]] = step
            reached = reached | {other for each in reached for other in bonded[each]}
    hydrogen = torch.arange(count) >= model.n_atoms
    either, both = hydrogen[:, None] | hydrogen[None], hydrogen[:, None] & hydrogen[None]
    counts = (bonds > torch.where(either, 4, 3)).triu(1)
    bonding = topology.donor[:, None] & topology.acceptor[None]
    allowed = (0.6 * either.double() + HEAVY_BOND * (~either).double()) * (bonding | bonding.T).double()
    allowed = allowed + ACROSS * (both & (bonds == 5)).double()
    contact = topology.radius[:, None] + topology.radius[None] - allowed
    distance = (sites[:, :, None] - sites[:, None] + torch.eye(count)[None, :, :, None]).norm(dim=-1)
    value = (contact - distance - tolerance).clamp_min(0).square() * counts
    per_site = 0.5 * (value.sum(1) + value.sum(2))
    return torch.zeros(len(sites), model.n_residues, dtype=sites.dtype).index_add(1, topology.residue, per_site)


@pytest.mark.parametrize(
    ("first", "second", "contact"),
    [
        (("ALA", "CB"), ("VAL", "CG1"), 3.4),
        (("ALA", "CB"), ("ASP", "CG"), 3.35),  # carbonyl carbon
        (("PHE", "CZ"), ("TRP", "CH2"), 3.5),  # aromatic carbons
        (("MET", "SD"), ("ALA", "CB"), 3.5),
        (("ASP", "OD1"), ("GLU", "OE2"), 2.8),  # two acceptors make no hydrogen bond
        (("SER", "OG"), ("GLU", "OE2"), 2.8 - HEAVY_BOND),  # a hydroxyl and an acceptor do
        (("ALA", "CB"), ("GLU", "OE2"), 3.1),
    ],
)
@pytest.mark.parametrize("overlap", [0.15, 0.39, 0.41, 1.3])
def test_two_atoms_at_a_known_overlap(first, second, contact, overlap):
    direction = np.array([2.0, -1.0, 2.0]) / 3.0
    model = lone_atoms(first, second, positions_xyz=[[1, 2, 3], [1, 2, 3]])
    positions = double(model)
    positions[0, 1] += torch.from_numpy((contact - overlap) * direction)
    positions.requires_grad_()
    topology = clash_topology(model)
    value = clash_overlap(positions, topology)
    excess = max(overlap - TOLERANCE, 0.0)
    np.testing.assert_allclose(value.detach().numpy(), [[0.5 * excess**2] * 2], atol=1e-9)
    value.sum().backward()
    assert positions.grad is not None
    np.testing.assert_allclose(positions.grad[0].numpy(), [2 * excess * direction, -2 * excess * direction], atol=1e-9)
    # the atoms that a clashscore divides by are the two and the hydrogen of a hydroxyl, which it allows less
    hydroxyl = first[1] == "OG"
    clashes = overlap + (HEAVY_BOND - COUNTED_HEAVY_BOND) * hydroxyl >= CLASH
    assert clash_score(positions, topology).tolist() == pytest.approx([1000 * clashes / (2 + hydroxyl)])


def peptide_hydrogen_and_oxygen(oxygen_xyz: Sequence[float]) -> AtomicModel:
    """C, N and CA of a peptide bond, N at the origin and its hydrogen towards +x, with an oxygen of another chain."""
    names, residues = ("C", "N", "CA", "O"), [0, 1, 1, 2]
    flat = [[-0.667, 1.155, 0], [0, 0, 0], [-0.729, -1.264, 0], oxygen_xyz]
    return AtomicModel(
        positions_xyz=np.array(flat, dtype=np.float32),
        atom_name=np.array([ATOM_NAMES.index(name) for name in names]),
        element=np.array([ELEMENTS.index(name[0]) for name in names]),
        residue_index=np.array(residues),
        residue_type=np.full(3, RESIDUE_TYPES.index("GLY")),
        residue_number=np.array([1, 2, 3]),
        chain_id=np.array(["A", "A", "B"]),
    )


@pytest.mark.parametrize(
    ("direction", "length", "hydrogen_to_oxygen"),
    [((1.0, 0.0, 0.0), 2.72, 1.86), ((1.0, 0.0, 0.0), 2.42, 1.56), ((0.6, 0.0, 0.8), 2.42, 2.024)],
)
def test_a_hydrogen_bond_may_be_short_if_neither_the_hydrogen_nor_its_parent_is_too_near(
    direction, length, hydrogen_to_oxygen
):
    model = peptide_hydrogen_and_oxygen([length * each for each in direction])
    value = clash_overlap(double(model), clash_topology(model), 0.0).sum()
    light = max(1.05 + 1.40 - 0.60 - hydrogen_to_oxygen, 0.0)
    heavy = max(1.55 + 1.40 - HEAVY_BOND - length, 0.0)
    assert float(value) == pytest.approx(light**2 + heavy**2, abs=1e-3)
    # N and O nearer than 2.45 A are a clash
    assert (clash_score(double(model), clash_topology(model)) > 0) == (length < 2.45)


def test_the_hydrogens_of_two_methyl_groups_meet_before_their_carbons_do():
    alanine = made_peptide(["ALA"])
    beta = alanine.atom_name == ATOM_NAMES.index("CB")
    table = clash_topology(alanine).hydrogens
    methyl = beta[table.parent.numpy()]
    carbon = alanine.positions_xyz[beta][0]
    ahead = place_hydrogens(double(alanine), table)[0].numpy()[methyl][1] - carbon
    ahead /= np.linalg.norm(ahead)
    # turned inside out about a point beyond the hydrogen: CB to CB 3.5 A, and their spheres touch at 3.4
    both = AtomicModel(
        positions_xyz=np.concatenate([alanine.positions_xyz, 2 * (carbon + 1.75 * ahead) - alanine.positions_xyz]),
        atom_name=np.tile(alanine.atom_name, 2),
        element=np.tile(alanine.element, 2),
        residue_index=np.repeat([0, 1], alanine.n_atoms),
        residue_type=np.tile(alanine.residue_type, 2),
        residue_number=np.array([1, 2]),
        chain_id=np.array(["A", "B"]),
    )
    topology = clash_topology(both)
    positions = double(both)
    first, second = place_hydrogens(positions, topology.hydrogens)[0][np.tile(methyl, 2)].reshape(2, 3, 3)
    carbons = positions[0][np.tile(beta, 2)]
    overlaps = [2 * 1.22 - torch.cdist(first, second)]
    overlaps += [
        1.22 + 1.70 - torch.cdist(each, other[None]) for each, other in zip((second, first), carbons, strict=True)
    ]
    assert float(overlaps[0].max()) == pytest.approx(2 * 1.22 - (3.5 - 2 * 0.97), abs=1e-5)
    expected = sum(float(each.clamp_min(0).square().sum()) for each in overlaps)
    assert float(clash_overlap(positions, topology, 0.0).sum()) == pytest.approx(expected, abs=1e-6)
    assert clash_score(positions, topology) > 0


def test_what_is_bonded_within_three_bonds_costs_nothing():
    # N to CG of a lysine is three bonds, N to CD four
    names = ("N", "CA", "CB", "CG")
    model = lone_atoms(*(("LYS", name) for name in names), positions_xyz=np.zeros((4, 3)).tolist())
    one = AtomicModel(
        model.positions_xyz,
        model.atom_name,
        model.element,
        np.zeros(4, dtype=np.int64),
        model.residue_type[:1],
        model.residue_number[:1],
        model.chain_id[:1],
    )
    together = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    assert clash_overlap(together, clash_topology(one)).sum() == 0
    assert clash_overlap(together, clash_topology(model)).sum() > 0
    names = ("N", "CA", "CB", "CG", "CD")
    longer = AtomicModel(
        np.zeros((5, 3), dtype=np.float32),
        np.array([ATOM_NAMES.index(name) for name in names]),
        np.array([ELEMENTS.index(name[0]) for name in names]),
        np.zeros(5, dtype=np.int64),
        model.residue_type[:1],
        model.residue_number[:1],
        model.chain_id[:1],
    )
    topology = clash_topology(longer)
    stretched = 20.0 * torch.arange(5, dtype=torch.float64)[None, :, None].repeat(1, 1, 3)
    stretched[0, 4] = stretched[0, 0] + torch.tensor([0.0, 0.0, 2.25])
    assert float(clash_overlap(stretched, topology).sum()) == pytest.approx((3.25 - 2.25 - TOLERANCE) ** 2)


def test_bonded_sulphurs_are_a_disulfide_and_no_clash():
    far, near = ([[0, 0, 0], [0, 0, z]] for z in (2.6, 2.05))
    positions = torch.tensor([[[0.0, 0, 0], [0, 0, 2.05]]], dtype=torch.float64)
    two = (("CYS", "SG"), ("CYS", "SG"))
    assert clash_overlap(positions, clash_topology(lone_atoms(*two, positions_xyz=near))).sum() == 0
    assert clash_overlap(positions, clash_topology(lone_atoms(*two, positions_xyz=far))).sum() > 0


def test_atoms_that_the_residue_type_does_not_have_are_left_out():
    model = lone_atoms(("ALA", "CB"), ("ALA", "OTHER"), ("GLY", "CG2"), positions_xyz=[[0, 0, 0]] * 3)
    topology = clash_topology(model)
    assert clash_overlap(double(model), topology).sum() == 0
    assert topology.n_counted == 1


@pytest.mark.parametrize("tolerance", [0.0, TOLERANCE])
def test_same_value_and_gradient_as_a_sum_over_all_pairs(tolerance):
    model = squeezed()
    topology = clash_topology(model)
    noise = torch.randn(3, model.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    positions = (double(model) + 0.2 * noise).requires_grad_()
    weight = torch.rand(3, model.n_residues, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours = clash_overlap(positions, topology, tolerance)
    plain = overlap_by_all_pairs(positions, model, topology, tolerance)
    assert float(plain.detach().sum()) > 100
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad((each * weight).sum(), positions)[0] for each in (ours, plain)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


def test_gradient_is_that_of_finite_differences():
    model = squeezed(10)
    topology = clash_topology(model)
    assert torch.autograd.gradcheck(lambda xyz: clash_overlap(xyz, topology), (double(model).requires_grad_(),))


def test_single_precision_is_enough():
    model = squeezed()
    topology = clash_topology(model)
    single = clash_overlap(torch.from_numpy(model.positions_xyz)[None], topology)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), clash_overlap(double(model), topology), rtol=1e-4, atol=1e-4)


def test_value_does_not_change_with_the_frame():
    model = squeezed()
    topology = clash_topology(model)
    turn, shift = torch.from_numpy(random_rotation(5)), torch.tensor([30.0, -2.0, 7.0], dtype=torch.float64)
    moved = clash_overlap(double(model) @ turn.T + shift, topology)
    torch.testing.assert_close(moved, clash_overlap(double(model), topology), rtol=0, atol=1e-9)


def test_order_of_the_atoms_does_not_matter():
    model = squeezed()
    order = np.random.default_rng(0).permutation(model.n_atoms)
    mixed = AtomicModel(
        model.positions_xyz[order],
        model.atom_name[order],
        model.element[order],
        model.residue_index[order],
        model.residue_type,
        model.residue_number,
        model.chain_id,
    )
    ours, theirs = (clash_overlap(double(each), clash_topology(each)) for each in (model, mixed))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_the_rest_of_the_batch_does_not_matter():
    model = squeezed()
    topology = clash_topology(model)
    noise = torch.randn(4, model.n_atoms, 3, generator=torch.Generator().manual_seed(1))
    positions = torch.from_numpy(model.positions_xyz)[None] + 0.3 * noise
    together = clash_overlap(positions, topology)
    for row in range(4):
        assert torch.equal(clash_overlap(positions[row : row + 1], topology)[0], together[row])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_gives_the_same_value_and_gradient():
    model = squeezed()
    topology = clash_topology(model)
    values, gradients = [], []
    for device in ("cpu", "cuda"):
        positions = double(model).to(device).requires_grad_()
        value = clash_overlap(positions, topology.to(torch.device(device)))
        values.append(value.detach().cpu())
        gradients.append(torch.autograd.grad(value.sum(), positions)[0].cpu())
    torch.testing.assert_close(*values, rtol=0, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)
