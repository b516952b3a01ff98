"""A stand-in has the atoms of its sequence, bonds, and a protein's density."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryofound.physics.geometry import bonded_to_next
from cryofound.structure.alignment import sequence_of
from cryofound.structure.reading import SIDE_CHAINS
from cryofound.structure.stand_in import stand_in

SEQUENCE = "MKVLAAGIRSDEWTFNPQHYC" * 20


def test_atoms_and_sequence() -> None:
    model = stand_in(SEQUENCE)
    assert sequence_of(model) == SEQUENCE
    kinds = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()
    counts = {
        letter: 4 + len(SIDE_CHAINS[kind].split()) for letter, kind in zip("ARNDCQEGHILKMFPSTWYV", kinds, strict=True)
    }
    assert np.bincount(model.residue_index).tolist() == [counts[letter] for letter in SEQUENCE]
    assert stand_in("AXA").n_atoms == 15


def test_it_is_bonded_compact_and_centred() -> None:
    model = stand_in(SEQUENCE)
    assert bonded_to_next(model).mean() > 0.9
    edges = np.ptp(model.positions_xyz, axis=0)
    assert edges.max() < 1.3 * edges.min()
    assert np.prod(edges) / len(SEQUENCE) == pytest.approx(200, rel=0.25)  # 163 A^3 a residue and the outer side chains
    np.testing.assert_allclose(model.positions_xyz.min(0), -model.positions_xyz.max(0), atol=1e-3)
    assert cKDTree(model.positions_xyz).query(model.positions_xyz, 2)[0][:, 1].min() > 0.3
