import numpy as np
import pytest

from cryofound.evaluation.baselines import NORMAL_MODE_RMSD, normal_modes_ensemble, static_ensemble
from cryofound.evaluation.superposition import superposed_rmsd


def test_normal_modes_have_the_stated_size_and_move_residues_whole(peptide):
    helix = peptide(40, -57.0, -47.0)
    samples = normal_modes_ensemble(helix)
    assert samples.shape == (256, 160, 3)
    assert superposed_rmsd(samples, helix.positions_xyz[None]).mean() == pytest.approx(NORMAL_MODE_RMSD, rel=1e-3)
    # All atoms of a residue share one displacement: distances within a residue stay.
    for row in (0, 17, 39):
        atoms = np.flatnonzero(helix.residue_index == row)
        before = np.linalg.norm(helix.positions_xyz[atoms][:, None] - helix.positions_xyz[atoms], axis=-1)
        after = np.linalg.norm(samples[:, atoms][:, :, None] - samples[:, atoms][:, None], axis=-1)
        np.testing.assert_allclose(after, np.broadcast_to(before, after.shape), atol=1e-4)


def test_seed_decides(peptide):
    helix = peptide(40, -57.0, -47.0)
    np.testing.assert_array_equal(normal_modes_ensemble(helix, seed=1), normal_modes_ensemble(helix, seed=1))
    assert np.abs(normal_modes_ensemble(helix, seed=1) - normal_modes_ensemble(helix, seed=2)).max() > 1


def test_short_chain_gives_the_modes_it_has(peptide):
    helix = peptide(8, -57.0, -47.0)
    assert normal_modes_ensemble(helix, n=3, rmsd=0.5).shape == (3, 32, 3)


def test_static_is_the_reference(peptide):
    helix = peptide(8, -57.0, -47.0)
    np.testing.assert_array_equal(static_ensemble(helix)[0], helix.positions_xyz)
