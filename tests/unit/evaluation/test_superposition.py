import numpy as np
import pytest
from biotite.structure import rmsd as biotite_rmsd
from biotite.structure import superimpose

from cryofound.evaluation.superposition import superposed_rmsd


@pytest.fixture
def conformations(rng, turn, peptide):
    start = peptide(40, -57.0, -47.0).positions_xyz.astype(np.float64)
    return turn(start + rng.normal(scale=np.array([0.01, 0.3, 1.0, 3.0, 10.0])[:, None, None], size=(5, *start.shape)))


def test_agrees_with_biotite(conformations):
    ours = superposed_rmsd(conformations[:3], conformations)
    for row in range(3):
        for column in range(5):
            fitted, _ = superimpose(conformations[column], conformations[row])
            assert ours[row, column] == pytest.approx(biotite_rmsd(conformations[column], fitted), abs=1e-4)


def test_rigid_motion_changes_nothing(conformations, turn):
    before = superposed_rmsd(conformations[:2], conformations[2:])
    np.testing.assert_allclose(superposed_rmsd(turn(conformations[:2]), turn(conformations[2:])), before, atol=1e-9)
    assert superposed_rmsd(turn(conformations), conformations).diagonal() == pytest.approx(0, abs=1e-5)


def test_order_of_atoms_does_not_matter_if_it_is_the_same(conformations, rng):
    order = rng.permutation(conformations.shape[1])
    before = superposed_rmsd(conformations[:2], conformations[2:])
    after = superposed_rmsd(conformations[:2, order], conformations[2:, order])
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert (superposed_rmsd(conformations[:2, order], conformations[2:]) > before + 1).all()


def test_mirror_image_is_not_reached_by_rotation(peptide):
    helix = peptide(20, -57.0, -47.0).positions_xyz.astype(np.float64)
    mirrored = helix * [1, 1, -1]
    distance = superposed_rmsd(helix[None], mirrored[None])[0, 0]
    fitted, _ = superimpose(mirrored, helix)
    assert distance == pytest.approx(biotite_rmsd(mirrored, fitted), abs=1e-4)
    assert distance > 1.0
