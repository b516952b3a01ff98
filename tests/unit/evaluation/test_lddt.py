"""lDDT of models whose distances are known."""

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.lddt import RADIUS, contacts, lddt


@pytest.mark.parametrize(("change", "expected"), [(0.0, 1), (0.4, 1), (0.6, 0.75), (1.5, 0.5), (3.9, 0.25), (4.1, 0)])
def test_a_single_distance_is_kept_within_each_threshold_or_not(change, expected):
    target = np.array([[0.0, 0, 0], [6.0, 0, 0]])
    models = np.array([[[0.0, 0, 0], [0, 6.0 + sign * change, 0]] for sign in (1, -1)])
    assert lddt(models, contacts(target, np.arange(2))).tolist() == [expected, expected]


def test_only_distances_between_residues_within_the_radius_count():
    line = np.array([[0.0, 0, 0], [1.0, 0, 0], [RADIUS - 1, 0, 0], [RADIUS + 0.5, 0, 0]])
    near = contacts(line, np.array([0, 0, 1, 2]))
    assert list(zip(near.first.tolist(), near.second.tolist(), strict=True)) == [(0, 2), (1, 2), (1, 3), (2, 3)]


def test_nothing_but_a_rigid_motion_leaves_it_whole(peptide, turn, rng):
    helix = peptide(40, -57.0, -47.0)
    near = contacts(helix.positions_xyz, helix.residue_index)
    still = np.repeat(helix.positions_xyz[None].astype(float), 3, axis=0)
    assert lddt(turn(still), near) == pytest.approx(1.0)
    spread = [lddt(still + rng.normal(scale=scale, size=still.shape), near).max() for scale in (0.5, 1.0, 2.0)]
    assert 1 > spread[0] > spread[1] > spread[2]
    bent = peptide(40, -100.0, 130.0).positions_xyz[None]
    assert lddt(bent, near)[0] < 0.7


def test_residues_without_neighbours_have_none():
    with pytest.raises(StructureError, match="no two residues"):
        contacts(np.array([[0.0, 0, 0], [100.0, 0, 0]]), np.arange(2))
