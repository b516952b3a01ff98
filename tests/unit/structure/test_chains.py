"""Chains put together and taken apart again."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import atoms_of, chain_rows, chains_of, joined, residues_of
from cryofound.structure.reading import read_complex
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def chain(name: str, residues: int, seed: int) -> AtomicModel:
    return replace(made_protein(residues, seed), chain_id=np.array([name] * residues))


def test_written_and_read_again(tmp_path: Path) -> None:
    chains = [chain("B", 20, 1), chain("A", 30, 2), chain("BA", 20, 1)]
    whole = joined(chains)
    write_ensemble(tmp_path / "x.cif", whole, whole.positions_xyz[None])
    read = read_complex(tmp_path / "x.cif")
    for name, written in vars(whole).items():
        if name == "positions_xyz":
            np.testing.assert_allclose(read.positions_xyz, written, atol=2e-3)
        else:
            np.testing.assert_array_equal(getattr(read, name), written)
    assert {name: len(rows) for name, rows in chain_rows(read).items()} == {"B": 20, "A": 30, "BA": 20}
    for one, rows in zip(chains, chain_rows(whole).values(), strict=True):
        np.testing.assert_array_equal(whole.ca_xyz()[rows], one.ca_xyz())
    for one, again in zip(chains, chains_of(whole).values(), strict=True):
        for name, expected in vars(one).items():
            np.testing.assert_array_equal(getattr(again, name), expected)


def test_some_residues_with_their_atoms() -> None:
    whole = joined([chain("A", 20, 1), chain("B", 30, 2)])
    part = residues_of(whole, np.r_[5:9, 25:30])
    np.testing.assert_array_equal(part.ca_xyz(), whole.ca_xyz()[np.r_[5:9, 25:30]])
    np.testing.assert_array_equal(part.residue_number, [6, 7, 8, 9, 6, 7, 8, 9, 10])
    assert (part.backbone_index() >= 0).all()
    assert part.n_atoms == np.isin(whole.residue_index, np.r_[5:9, 25:30]).sum()


def test_some_atoms_with_their_residues() -> None:
    whole = joined([chain("A", 20, 1), chain("B", 30, 2)])
    in_part = np.isin(whole.residue_index, np.r_[5:9, 25:30])
    rows = np.flatnonzero(in_part & ((whole.atom_name < 4) | (whole.residue_index == 7)))
    part = atoms_of(whole, rows)
    np.testing.assert_array_equal(part.positions_xyz, whole.positions_xyz[rows])
    np.testing.assert_array_equal(part.atom_name, whole.atom_name[rows])
    np.testing.assert_array_equal(part.ca_xyz(), whole.ca_xyz()[np.r_[5:9, 25:30]])
    np.testing.assert_array_equal(
        part.residue_number[part.residue_index], whole.residue_number[whole.residue_index[rows]]
    )
