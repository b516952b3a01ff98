"""Groups and residues that move as rigid bodies."""

import numpy as np
import torch
from scipy.spatial.distance import pdist

from cryofound.building.motion import TURN, bodies, carried, moved
from tests.made_complexes import made_ring
from tests.made_proteins import made_protein, random_rotation


def test_nothing_moves_at_rest():
    model = made_protein(40)
    parts = bodies(model, (2, 4))
    start = torch.from_numpy(model.positions_xyz)
    assert torch.allclose(moved(start, parts, parts.at_rest()), start, atol=1e-5)


def test_one_group_turns_as_one_rigid_body_about_its_middle():
    model = made_protein(40)
    parts = bodies(model, (1,))
    motion = parts.at_rest()
    motion.groups[0].data[0] = torch.tensor([1.0, -2.0, 3.0, 0.0, 0.0, 0.5 * np.pi / TURN])
    after = moved(torch.from_numpy(model.positions_xyz), parts, motion).detach().numpy()
    assert np.allclose(pdist(after), pdist(model.positions_xyz), atol=1e-3)
    middle = model.ca_xyz().mean(0)
    about = model.positions_xyz - middle
    turned = np.stack([-about[:, 1], about[:, 0], about[:, 2]], axis=1) + middle + [1.0, -2.0, 3.0]
    assert np.allclose(after, turned, atol=1e-3)


def test_a_residue_that_moves_alone_keeps_its_shape_and_leaves_the_others():
    model = made_protein(20)
    parts = bodies(model, ())
    motion = parts.at_rest()
    motion.residues.data[7] = torch.tensor([2.0, 0.0, 0.0, 3.0, 1.0, -2.0])
    after = moved(torch.from_numpy(model.positions_xyz), parts, motion).detach().numpy()
    own = model.residue_index == 7
    assert np.allclose(after[~own], model.positions_xyz[~own], atol=1e-5)
    assert np.allclose(pdist(after[own]), pdist(model.positions_xyz[own]), atol=1e-4)
    assert np.allclose(after[own][1] - model.positions_xyz[own][1], [2.0, 0.0, 0.0], atol=1e-5)


def test_chains_come_first_then_domains_then_levels_that_are_not_too_small():
    ring = made_ring(3, 20)
    domain = np.repeat([0, 1, -1], 20).astype(np.int16)
    shares = bodies(ring, (2, 4, 64), domain).shares
    assert [each.shape[1] for each in shares] == [3, 2, 2, 4]
    assert all(torch.allclose(each.sum(1), torch.ones(ring.n_residues), atol=1e-5) for each in shares)


def test_a_ligand_is_carried_by_the_atoms_about_it():
    model = made_protein(60)
    ligand = model.positions_xyz[100:104] + 2.0
    turn = random_rotation(3)
    after = model.positions_xyz @ turn.T + [5.0, 6.0, 7.0]
    assert np.allclose(carried(ligand, model.positions_xyz, after), ligand @ turn.T + [5.0, 6.0, 7.0], atol=1e-3)
