"""The combined stereochemistry loss: what it adds up, what it ignores, and that following it mends a model."""

import numpy as np
import pytest
import torch

from cryofound.config import StereochemistryConfig
from cryofound.physics.clashes import clash_overlap
from cryofound.physics.restraints import restraint_rms, restraint_term, wrong_hands
from cryofound.physics.stereochemistry import stereochemistry, stereochemistry_loss, stereochemistry_terms
from cryofound.structure.reading import read_model

CONFIG = StereochemistryConfig()
TERMS = ("bond", "angle", "volume", "omega", "cbeta", "ramachandran", "rotamer", "clash")


@pytest.fixture(scope="module")
def calmodulin(shared_data):
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif")
    noise = np.random.default_rng(0).normal(scale=0.3, size=model.positions_xyz.shape)
    shaken = torch.from_numpy((model.positions_xyz + noise).astype(np.float32))
    return model, stereochemistry(model), torch.stack([torch.from_numpy(model.positions_xyz), shaken])


@pytest.mark.shared
def test_every_term_tells_a_shaken_model_from_its_crystal_structure(calmodulin):
    _, tables, positions = calmodulin
    terms = stereochemistry_terms(positions, tables, CONFIG)
    assert tuple(terms) == TERMS
    for name, values in terms.items():
        assert values.shape == (2, tables.n_residues)
        assert values[1].mean() > 4 * values[0].mean(), name


@pytest.mark.shared
def test_the_loss_is_the_weighted_sum_of_the_terms_per_residue(calmodulin):
    _, tables, positions = calmodulin
    config = StereochemistryConfig(bond=2.0, clash=0.5, angle=0, volume=0, omega=0, cbeta=0, ramachandran=0, rotamer=0)
    expected = 2 * restraint_term(positions, tables.restraints.bonds).sum(1)
    expected += 0.5 * clash_overlap(positions, tables.clashes).sum(1) / config.clash_sigma**2
    loss = stereochemistry_loss(positions, tables, config)
    torch.testing.assert_close(loss, expected / tables.n_residues)
    nothing = StereochemistryConfig(**dict.fromkeys(TERMS, 0.0))
    assert torch.equal(stereochemistry_loss(positions, tables, nothing), torch.zeros(2))


@pytest.mark.shared
def test_the_loss_does_not_see_a_rigid_motion_or_the_rest_of_the_batch(calmodulin):
    _, tables, positions = calmodulin
    double = positions.double()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    turn = turn * torch.linalg.det(turn)
    moved = double @ turn.T + torch.tensor([5.0, -3.0, 11.0])
    loss = stereochemistry_loss(double, tables, CONFIG)
    torch.testing.assert_close(stereochemistry_loss(moved, tables, CONFIG), loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(stereochemistry_loss(double[1:], tables, CONFIG), loss[1:], rtol=1e-12, atol=0)


@pytest.mark.shared
def test_the_gradient_is_the_slope(calmodulin):
    _, tables, positions = calmodulin
    start = positions[1:].double().requires_grad_()
    gradient = torch.autograd.grad(stereochemistry_loss(start, tables, CONFIG).sum(), start)[0]
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = [stereochemistry_loss(start.detach() + sign * 1e-5 * direction, tables, CONFIG) for sign in (1, -1)]
    slope = float(ends[0] - ends[1]) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-3)


@pytest.mark.shared
def test_descent_on_stereochemistry_alone_mends_a_shaken_model_nearby(calmodulin):
    _, tables, positions = calmodulin
    model = positions[1:].clone().requires_grad_()
    optimizer = torch.optim.LBFGS([model], max_iter=100, history_size=20, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = stereochemistry_loss(model, tables, CONFIG).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    mended = model.detach()
    assert restraint_rms(positions[1:], tables.restraints.bonds) > 0.3
    assert restraint_rms(mended, tables.restraints.bonds) < 0.01
    assert not wrong_hands(mended, tables.restraints.volumes).any()
    assert (mended - positions[1:]).square().sum(-1).mean().sqrt() < 0.6
    assert (mended - positions[:1]).square().sum(-1).mean().sqrt() < 0.4
