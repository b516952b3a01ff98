"""The clash term: closed forms for two atoms, what is excluded, and agreement with a plain sum over all pairs."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cryofound.physics.clashes import CLASH, TOLERANCE, ClashTopology, clash_overlap, clash_score, clash_topology
from cryofound.physics.hydrogens import heavy_bonds, place_hydrogens
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES, AtomicModel
from tests.made_proteins import made_protein, random_rotation


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


def squeezed(residues: int = 24, seed: int = 3) -> AtomicModel:
    """A made protein whose two lobes run into each other."""
    model = made_protein(residues, seed=seed)
    positions = model.positions_xyz.copy()
    positions[:, 0] *= 0.5
    return model.moved(positions)


def overlap_by_all_pairs(
    positions_xyz: Tensor, model: AtomicModel, topology: ClashTopology, tolerance: float
) -> Tensor:
    """The term as its docstring defines it, over the matrix of all distances; exclusions by breadth-first search."""
    sites = torch.cat([positions_xyz, place_hydrogens(positions_xyz, topology.hydrogens)], dim=1)
    count, owner = sites.shape[1], [*range(model.n_atoms), *topology.hydrogens.parent.tolist()]
    bonded: dict[int, set[int]] = {atom: set() for atom in range(model.n_atoms)}
    for first, second in heavy_bonds(model).tolist():
        bonded[first].add(second)
        bonded[second].add(first)
    counts = torch.ones(count, count, dtype=torch.bool).triu(1)
    near: list[set[int]] = []
    for atom in range(model.n_atoms):
        reached = {atom}
        for _ in range(3):
            reached = reached | {other for each in reached for other in bonded[each]}
        near.append(reached)
    for first in range(count):
        for second in range(first + 1, count):
            counts[first, second] &= owner[second] not in near[owner[first]]
    bonding = topology.donor[:, None] & topology.acceptor[None]
    contact = topology.radius[:, None] + topology.radius[None] - 0.6 * (bonding | bonding.T).double()
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
        (("SER", "OG"), ("GLU", "OE2"), 2.2),  # a hydroxyl and an acceptor do
        (("ALA", "CB"), ("GLU", "OE2"), 3.1),
    ],
)
@pytest.mark.parametrize("overlap", [0.1, 0.39, 0.41, 1.3])
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
    # atoms that a clashscore divides by: the two, and the hydrogen of a hydroxyl
    atoms = 2 + (first[1] == "OG")
    assert clash_score(positions, topology).tolist() == pytest.approx([1000 * (overlap >= CLASH) / atoms])


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
