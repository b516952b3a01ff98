"""A complex made symmetric: exactly so, near where it was, with chains as they were."""

import numpy as np
from scipy.spatial.distance import pdist

from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of, joined, residues_of
from cryofound.structure.symmetrising import symmetric
from cryofound.structure.symmetry import find_symmetry
from tests.made_complexes import elsewhere, made_ring

SHIFT = 0.6  # angstrom that each copy is out of its place


def _disturbed(ring: AtomicModel) -> AtomicModel:
    """Each copy of a ring moved as a rigid body by SHIFT in a direction of its own."""
    rng = np.random.default_rng(5)
    directions = [each / np.linalg.norm(each) for each in rng.standard_normal((len(chain_rows(ring)), 3))]
    chains = chains_of(ring).values()
    return joined(
        [chain.moved(chain.positions_xyz + SHIFT * way) for chain, way in zip(chains, directions, strict=True)]
    )


def test_it_is_exactly_symmetric_and_its_chains_keep_their_shape() -> None:
    model = _disturbed(elsewhere(made_ring(), 2))
    assert find_symmetry(model, "C4").rmsd > 0.2
    found = symmetric(model, find_symmetry(model, "C4"))
    assert find_symmetry(found, "C4").rmsd < 1e-4
    for chain, before in zip(chains_of(found).values(), chains_of(model).values(), strict=True):
        np.testing.assert_allclose(pdist(chain.positions_xyz), pdist(before.positions_xyz), atol=1e-3)
    assert np.linalg.norm(found.positions_xyz - model.positions_xyz, axis=1).max() < 2 * SHIFT


def test_what_is_symmetric_stays_as_it_is() -> None:
    ring = elsewhere(made_ring(3), 4)
    found = symmetric(ring, find_symmetry(ring, "C3"))
    np.testing.assert_allclose(found.positions_xyz, ring.positions_xyz, atol=1e-3)


def test_residues_that_the_first_copy_lacks_go_along_with_their_own() -> None:
    ring = made_ring()
    first, *others = chains_of(ring).values()
    short = joined([residues_of(first, np.arange(5, first.n_residues)), *others])
    model = _disturbed(short)
    found = symmetric(model, find_symmetry(model, "C4"))
    for chain, before in zip(list(chains_of(found).values())[1:], list(chains_of(model).values())[1:], strict=True):
        np.testing.assert_allclose(pdist(chain.positions_xyz), pdist(before.positions_xyz), atol=2e-3)
