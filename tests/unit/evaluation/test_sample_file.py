"""Ensembles on disk: all samples come back, in pieces, over the atoms that all have, copies told alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.evaluation import sample_file
from cryofound.evaluation.sample_file import Samples, gather, in_one_frame
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import atoms_of, residues_of
from tests.made_complexes import elsewhere, made_ring, reordered
from tests.made_proteins import made_protein

PROTEIN = made_protein(40)


def gathered(tmp_path: Path, *models: AtomicModel, name: str = "samples") -> Samples:
    return gather(name, ((f"{name} {row}", each) for row, each in enumerate(models)), tmp_path / name)


def test_samples_come_back_in_pieces(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(sample_file, "CHUNK", 3 * PROTEIN.n_atoms)
    positions = rng.normal(size=(8, PROTEIN.n_atoms, 3)).astype(np.float32)
    samples = gathered(tmp_path, *(PROTEIN.moved(each) for each in positions))
    assert [len(each) for each in samples.chunks()] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(list(samples.chunks())), positions)
    np.testing.assert_array_equal(samples.part(2, 4), positions[2:6])
    names, chosen = samples.spread(3)
    assert names == ("samples 0", "samples 4", "samples 7")
    np.testing.assert_array_equal(chosen, positions[[0, 4, 7]])
    assert len(samples.spread(100)[0]) == 8


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (made_protein(40, seed=1), "samples 1: its sequence has .* unlike samples 0"),
        (made_protein(39), "samples 1: its sequence has 39 residues, not 40"),
        (atoms_of(PROTEIN, np.arange(PROTEIN.n_atoms - 1)), r"samples 1: it has \d+ atoms"),
        (replace(PROTEIN, chain_id=np.array(["B"] * 40)), "other names"),
    ],
)
def test_samples_are_of_one_protein(tmp_path, other, reason):
    with pytest.raises(StructureError, match=reason):
        gathered(tmp_path, PROTEIN, other)


def test_no_samples_are_no_ensemble(tmp_path):
    with pytest.raises(StructureError, match="samples: no samples"):
        gathered(tmp_path)


def test_what_one_lacks_is_left_out_of_all(tmp_path):
    reference = residues_of(PROTEIN, np.arange(3, 40))
    alanines = np.flatnonzero((PROTEIN.residue_index < 35) & (PROTEIN.atom_name < 4))
    first = gathered(tmp_path, elsewhere(PROTEIN, 1), elsewhere(PROTEIN, 2), name="first")
    second = gathered(tmp_path, elsewhere(atoms_of(PROTEIN, alanines), 3), name="second")
    one, other = in_one_frame([first, second], reference)
    assert one.model.residue_number.tolist() == list(range(4, 36))
    assert one.model.n_atoms == 4 * 32
    assert one.model is other.model
    for samples in (one, other):
        for each in samples.part(0, len(samples)):
            # every sample is the reference, somewhere else
            np.testing.assert_allclose(each, one.model.positions_xyz, atol=1e-3)


def test_copies_are_told_as_they_lie_on_the_reference(tmp_path):
    # Four subunits, one of them bent: whichever copy a sample calls A, the bent one is the reference's.
    straight, bent = (made_ring(4, hinge_degrees=angle) for angle in (0.0, 40.0))
    mixed = straight.moved(
        np.where((straight.chain_id == "C")[straight.residue_index, None], bent.positions_xyz, straight.positions_xyz)
    )
    renamed = [
        elsewhere(reordered(mixed, names, dict(zip(names, "ABCD", strict=True))), seed)
        for seed, names in enumerate(["ABCD", "CDAB", "DBAC"], start=1)
    ]
    (samples,) = in_one_frame([gathered(tmp_path, *renamed)], mixed)
    for each in samples.part(0, 3):
        np.testing.assert_allclose(each, mixed.positions_xyz, atol=1e-3)


def test_another_protein_is_refused(tmp_path):
    with pytest.raises(StructureError, match=r"samples 0 and the reference: .* not related"):
        in_one_frame([gathered(tmp_path, made_protein(40, seed=3))], PROTEIN)
