"""The symmetric part of a displacement field is a projection that knows nothing of padding."""

import numpy as np
import pytest
import torch

from cryofound.models.symmetry import symmetrised, symmetry_tables
from cryofound.structure.chains import chain_rows, residues_of
from cryofound.structure.symmetry import find_symmetry
from tests.made_complexes import elsewhere, made_ring


@pytest.fixture(scope="module")
def molecules() -> list[tuple]:
    """A tetramer that lacks residues of one copy, a free monomer and a dimer, each with its symmetry."""
    ring = elsewhere(made_ring(4, residues=30), 1)
    worn = residues_of(ring, np.setdiff1d(np.arange(ring.n_residues), chain_rows(ring)["B"][3:6]))
    dimer = elsewhere(made_ring(2, residues=40), 2)
    return [(worn, find_symmetry(worn, "C4")), (made_ring(1), None), (dimer, find_symmetry(dimer, "C2"))]


def tables(molecules: list[tuple]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count = max(model.n_atoms for model, _ in molecules)
    groups = [None if found is None else (found.atoms, found.rotation) for _, found in molecules]
    atoms, rotation = symmetry_tables(groups, count)
    mask = torch.stack([torch.arange(count) < model.n_atoms for model, _ in molecules])
    return atoms, rotation.double(), mask


def field(mask: torch.Tensor, seed: int = 0) -> torch.Tensor:
    values = torch.randn(*mask.shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values * mask[..., None]


def test_projecting_twice_is_projecting_once(molecules: list[tuple]) -> None:
    atoms, rotation, mask = tables(molecules)
    displacement = field(mask)
    once = symmetrised(displacement, atoms, rotation)
    torch.testing.assert_close(symmetrised(once, atoms, rotation), once, atol=1e-6, rtol=0)
    assert (once[0] - displacement[0]).norm() > 0.5 * displacement[0].norm()
    # orthogonal: what is taken away has no part in what is left
    left = ((displacement - once) * once).sum()
    assert abs(left) < 1e-4 * once.square().sum()
    torch.testing.assert_close(once[1], displacement[1], atol=0, rtol=0)
    assert once[~mask].abs().max() == 0


def test_a_symmetric_motion_is_unchanged_and_commutes_with_the_operators(molecules: list[tuple]) -> None:
    atoms, rotation, mask = tables(molecules)
    model, found = molecules[0]
    xyz = torch.from_numpy(model.positions_xyz).double()
    slopes = (np.eye(3) - found.rotation).reshape(-1, 3)
    centre = torch.from_numpy(np.linalg.lstsq(slopes, found.shift.reshape(-1), rcond=1e-6)[0])
    axis = torch.from_numpy(np.linalg.svd(np.eye(3) - found.rotation[1])[2][2])
    arm = xyz - centre
    along = (arm @ axis)[:, None] * axis
    # breathing, sliding and twisting about the axis keep the symmetry
    motion = 0.1 * (arm - along) - 0.05 * along + 0.2 * torch.linalg.cross(axis.expand_as(arm), arm)
    displacement = torch.zeros(len(molecules), mask.shape[1], 3, dtype=torch.float64)
    displacement[0, : len(motion)] = motion
    torch.testing.assert_close(symmetrised(displacement, atoms, rotation)[0], displacement[0], atol=2e-3, rtol=0)
    once = symmetrised(field(mask), atoms, rotation)[0]
    for source, turn in zip(atoms[0], rotation[0], strict=True):
        known = source >= 0
        torch.testing.assert_close(once[source[known]] @ turn.T, once[known], atol=1e-6, rtol=0)


def test_a_push_on_one_chain_becomes_a_quarter_push_on_all(molecules: list[tuple]) -> None:
    model = elsewhere(made_ring(4, residues=30), 1)
    found = find_symmetry(model, "C4")
    atoms, rotation = symmetry_tables([(found.atoms, found.rotation)], model.n_atoms)
    displacement = torch.zeros(1, model.n_atoms, 3)
    first = torch.from_numpy((model.chain_id == "A")[model.residue_index])
    displacement[0, first] = torch.tensor([1.0, 2.0, 3.0])
    norm = symmetrised(displacement, atoms, rotation)[0].norm(dim=-1)
    torch.testing.assert_close(norm, torch.full_like(norm, 14**0.5 / 4))


def test_the_batch_has_no_say_and_gradients_flow(molecules: list[tuple]) -> None:
    atoms, rotation, mask = tables(molecules)
    displacement = field(mask).requires_grad_()
    together = symmetrised(displacement, atoms, rotation)
    for row, (model, found) in enumerate(molecules):
        own, turns = symmetry_tables([None if found is None else (found.atoms, found.rotation)], model.n_atoms)
        alone = symmetrised(displacement[row : row + 1, : model.n_atoms], own, turns)
        torch.testing.assert_close(alone[0], together[row, : model.n_atoms], atol=1e-6, rtol=0)
    # a projection is its own adjoint
    cotangent = field(mask, seed=1)
    (gradient,) = torch.autograd.grad(together, displacement, cotangent)
    torch.testing.assert_close(gradient, symmetrised(cotangent, atoms, rotation), atol=1e-6, rtol=0)
