import numpy as np
import pytest
from biotite.structure import rmsd as biotite_rmsd
from biotite.structure import superimpose

from cryofound.evaluation.superposition import superposed, superposed_rmsd
from cryofound.structure.alignment import superpose


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


def test_a_core_alone_decides_how_all_is_superposed(conformations, turn):
    core = np.arange(conformations.shape[1]) < 30
    ours = superposed_rmsd(conformations, conformations[:2], core)
    laid = superposed(conformations, conformations[1], core)
    for row, each in enumerate(conformations):
        for column in range(2):
            moved = superpose(each[core], conformations[column][core]).apply(each)
            rmsd = np.sqrt(((moved - conformations[column]) ** 2).sum(1).mean())
            assert ours[row, column] == pytest.approx(rmsd, abs=1e-5)
        np.testing.assert_allclose(laid[row], moved, atol=1e-9)
    np.testing.assert_allclose(superposed_rmsd(turn(conformations), turn(conformations[:2]), core), ours, atol=1e-5)
    whole = np.ones(conformations.shape[1], dtype=bool)
    all_atoms = superposed_rmsd(conformations, conformations)
    np.testing.assert_allclose(superposed_rmsd(conformations, conformations, whole), all_atoms, atol=1e-5)
