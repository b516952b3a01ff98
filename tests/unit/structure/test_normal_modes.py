"""Normal modes against ProDy's own solver, and the amplitudes that were asked for."""

import numpy as np
import prody
import pytest

from cryofound.errors import StructureError
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.normal_modes import mode_states, normal_modes, sample_modes
from tests.made_proteins import made_protein, random_rotation

MODEL = made_protein(70)


@pytest.mark.filterwarnings("ignore:Keyword argument '(turbo|eigvals)' is deprecated:DeprecationWarning")
def test_modes_are_those_of_prody() -> None:
    eigenvalues, shapes = normal_modes(MODEL, 5)
    network = prody.ANM("made")
    network.buildHessian(MODEL.ca_xyz().astype(float))
    network.calcModes(5)
    np.testing.assert_allclose(eigenvalues, network.getEigvals(), rtol=1e-6)
    overlap = np.abs(shapes.reshape(5, -1) @ network.getEigvecs())
    np.testing.assert_allclose(np.diag(overlap), 1, atol=1e-6)


@pytest.mark.parametrize("rmsd", [0.5, 3.46])
def test_end_states_are_as_far_from_the_reference_as_asked_for(rmsd: float) -> None:
    states = mode_states(MODEL, mode=2, rmsd=rmsd)
    assert [rmsd_superposed(state, MODEL.positions_xyz) for state in states] == pytest.approx([rmsd, rmsd], abs=1e-4)


def test_end_states_are_straight_along_the_mode_and_opposite() -> None:
    forwards, backwards = mode_states(MODEL, mode=1, rmsd=2.0) - MODEL.positions_xyz
    shape = normal_modes(MODEL, 1)[1][0][MODEL.residue_index]
    for move, sign in ((forwards, 1), (backwards, -1)):
        cosine = (move * shape).sum() / np.linalg.norm(move) / np.linalg.norm(shape)
        assert cosine == pytest.approx(sign, abs=1e-6)


def test_modes_turn_with_the_molecule_up_to_their_sign() -> None:
    rotation = random_rotation(5)
    turned = MODEL.moved(MODEL.positions_xyz @ rotation.T + 30)
    here, there = normal_modes(MODEL, 1)[1][0] @ rotation.T, normal_modes(turned, 1)[1][0]
    assert abs((here * there).sum()) == pytest.approx(1, abs=1e-4)


def test_samples_have_the_mean_rmsd_lie_on_the_reference_and_repeat() -> None:
    samples = sample_modes(MODEL, n=12, n_modes=8, rmsd=1.7, seed=4)
    own = np.sqrt(((samples - MODEL.positions_xyz) ** 2).sum(2).mean(1))
    assert own.mean() == pytest.approx(1.7, abs=1e-3)
    assert own == pytest.approx([rmsd_superposed(each, MODEL.positions_xyz) for each in samples], abs=1e-4)
    np.testing.assert_array_equal(samples, sample_modes(MODEL, n=12, n_modes=8, rmsd=1.7, seed=4))
    assert not np.array_equal(samples, sample_modes(MODEL, n=12, n_modes=8, rmsd=1.7, seed=5))


def test_refusals() -> None:
    with pytest.raises(StructureError, match="3 residues have 3 normal modes, 4 were asked for"):
        normal_modes(made_protein(3), 4)
    torn = MODEL.moved(MODEL.positions_xyz + np.where(MODEL.residue_index < 35, 0, 500)[:, None])
    with pytest.raises(StructureError, match="farther apart than the network reaches"):
        normal_modes(torn, 1)
