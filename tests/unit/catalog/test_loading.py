"""References are loaded as their entries say."""

from pathlib import Path

import pytest

from cryofound.catalog.entry import CatalogEntry
from cryofound.catalog.loading import load_reference
from cryofound.errors import SourceError, StructureError
from tests.made_proteins import made_protein
from tests.unit.catalog.made_series import frames, made_series


def entry(folder: Path, **changes: object) -> CatalogEntry:
    given = {
        "system_id": "one", "family": "made", "split": "train",
        "sources": {"here": {"kind": "local", "folder": str(folder)}},
        "reference": {"source": "here", "file": "model.cif"},
        "states": [{"state_id": "a", "kind": "map", "source": "here", "file": frames(1)[0], "resolution": 6.0}],
    }  # fmt: skip
    return CatalogEntry.model_validate({**given, **changes})


def test_the_sequence_of_its_group_is_what_the_chain_must_match(tmp_path: Path) -> None:
    folder = made_series(tmp_path, frames(1))
    sequence = (folder / "model.fasta").read_text().splitlines()[1]
    good = entry(folder, chains=[{"names": ["A"], "sequence": sequence.lower()}])
    assert load_reference(good, tmp_path).n_residues == made_protein(60).n_residues
    wrong = "W" if sequence[4] != "W" else "A"
    bad = entry(folder, chains=[{"names": ["A"], "sequence": sequence[:4] + wrong + sequence[5:]}])
    with pytest.raises(StructureError, match=f"sequence of one does not match: position 5 is {wrong}"):
        load_reference(bad, tmp_path)


def test_a_complex_is_not_taken_for_its_longest_chain(tmp_path: Path) -> None:
    folder = made_series(tmp_path, frames(1))
    tetramer = entry(folder, chains=[{"names": ["A", "B", "C", "D"]}])
    with pytest.raises(StructureError, match=r"model\.cif: no chain B; it has A"):
        load_reference(tetramer, tmp_path)
    one = {"source": "here", "file": "model.cif", "chain": "A"}
    assert load_reference(entry(folder, chains=[{"names": ["A", "B"]}], reference=one), tmp_path).n_residues == 60


def test_a_file_named_by_a_pattern(tmp_path: Path) -> None:
    folder = made_series(tmp_path, frames(1))
    assert load_reference(entry(folder, reference={"source": "here", "file": "mod*.cif"}), tmp_path).n_residues == 60
    with pytest.raises(SourceError, match=r"none\*.cif: not in source here of one; correct the entry's file"):
        load_reference(entry(folder, reference={"source": "here", "file": "none*.cif"}), tmp_path)
