"""References are loaded as their entries say."""

from pathlib import Path

import numpy as np
import pytest
from biotite.structure.io.dcd import DCDFile

from cryofound.catalog.entry import CatalogEntry, StructureChoice, load_entry
from cryofound.catalog.loading import load_reference, load_state, load_structure, source_file
from cryofound.errors import SourceError, StructureError
from cryofound.structure.alignment import rmsd_superposed, sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of, joined
from cryofound.structure.reading import read_complex, read_model
from cryofound.structure.writing import write_ensemble
from tests.made_complexes import elsewhere, made_ring, named, reordered
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


def test_stretches_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    folder = made_series(tmp_path, frames(1))
    whole = load_reference(entry(folder), tmp_path)
    chosen = {"source": "here", "file": "model.cif", "without": [[5, 9], [20, 20]]}
    cut = entry(folder, reference=chosen)
    numbers = [number for number in whole.residue_number.tolist() if number not in (5, 6, 7, 8, 9, 20)]
    for model in (
        load_reference(cut, tmp_path),
        load_structure(cut, StructureChoice.model_validate(chosen), whole, tmp_path),
    ):
        assert model.residue_number.tolist() == numbers
        np.testing.assert_array_equal(model.ca_xyz(), whole.ca_xyz()[np.isin(whole.residue_number, numbers)])


def test_without_a_name_a_state_is_the_chain_most_like_the_reference(tmp_path: Path) -> None:
    """A longer partner stands before it in the file, and its own chain has another name."""
    partner = made_protein(90, 8)
    both = joined([named(partner.moved(partner.positions_xyz + 80), "A"), named(made_protein(60, 1, 30.0), "R")])
    folder = written(tmp_path, both)
    write_ensemble(folder / "model.cif", ALPHA, ALPHA.positions_xyz[None])
    choice = StructureChoice.model_validate({"source": "here", "file": "complex.cif"})
    found = load_structure(entry(folder), choice, ALPHA, tmp_path)
    assert found.chain_id[0] == "R"
    assert sequence_of(found) == sequence_of(ALPHA)


ALPHA, BETA = made_protein(60, 1), made_protein(50, 2)
GROUPS = (
    {"names": ["A", "C"], "description": "alpha", "sequence": sequence_of(ALPHA)},
    {"names": ["B", "D"], "description": "beta", "sequence": sequence_of(BETA)},
)


def dimers() -> AtomicModel:
    """Two alpha and two beta in a square, alike across the middle."""
    ring = made_ring(4, 60)
    places = [chain.ca_xyz().mean(0) for chain in chains_of(ring).values()]
    kinds = (ALPHA, BETA, ALPHA, BETA)
    return joined(
        [
            named(kind.moved(kind.positions_xyz + place), name)
            for kind, place, name in zip(kinds, places, "ABCD", strict=True)
        ]
    )


def written(folder: Path, model: AtomicModel, name: str = "complex.cif") -> Path:
    write_ensemble(folder / name, model, model.positions_xyz[None])
    return folder


def of_complex(folder: Path, groups: object = GROUPS, **changes: object) -> CatalogEntry:
    return entry(folder, **{"chains": groups, "reference": {"source": "here", "file": "complex.cif"}, **changes})


def refusal(given: CatalogEntry, cache: Path) -> str:
    with pytest.raises(StructureError) as raised:
        load_reference(given, cache)
    assert "\n" not in str(raised.value)
    assert "complex.cif: " in str(raised.value)
    return str(raised.value).partition("complex.cif: ")[2]


def test_a_complex_has_the_chains_of_its_groups_in_their_order(tmp_path: Path) -> None:
    for order in ("ABCD", "DBCA"):
        model = load_reference(of_complex(written(tmp_path, reordered(dimers(), order))), tmp_path)
        expected = reordered(dimers(), "ACBD")
        np.testing.assert_allclose(model.positions_xyz, expected.positions_xyz, atol=2e-3)
        np.testing.assert_array_equal(model.chain_id, expected.chain_id)
        np.testing.assert_array_equal(model.residue_index, expected.residue_index)


def test_residues_are_kept_chain_by_chain(tmp_path: Path) -> None:
    """As of the integrin, A 1-958 and B 1-636, and of NK1R, B without its first 25."""
    folder = written(tmp_path, reordered(dimers(), "AB"))
    groups = [{"names": ["A"], "residues": [1, 40]}, {"names": ["B"], "residues": [26, None]}]
    model = load_reference(of_complex(folder, groups), tmp_path)
    assert [model.residue_number[rows][[0, -1]].tolist() for rows in chain_rows(model).values()] == [[1, 40], [26, 50]]
    one = load_reference(of_complex(folder, groups[1:]), tmp_path)
    assert set(one.chain_id) == {"B"}
    np.testing.assert_array_equal(one.residue_number, np.arange(26, 51))
    narrower = {"source": "here", "file": "complex.cif", "residues": [30, 45]}
    model = load_reference(of_complex(folder, groups, reference=narrower), tmp_path)
    assert [model.residue_number[rows][[0, -1]].tolist() for rows in chain_rows(model).values()] == [[30, 40], [30, 45]]


def test_chains_that_are_missing_swapped_or_mutated(tmp_path: Path) -> None:
    folder = written(tmp_path, reordered(dimers(), "ABC"))
    assert refusal(of_complex(folder), tmp_path) == "no chain D; it has A, B, C"
    folder = written(tmp_path, dimers())
    swapped = [{**GROUPS[0], "names": ["A", "B"]}, {**GROUPS[1], "names": ["C", "D"]}]
    assert refusal(of_complex(folder, swapped), tmp_path) == (
        "chain B of one does not match its sequence: it has the sequence of beta, not of alpha; exchange them"
    )
    right = sequence_of(BETA)
    other = "W" if right[8] != "W" else "Y"
    mutated = [GROUPS[0], {**GROUPS[1], "sequence": right[:8] + other + right[9:]}]
    assert refusal(of_complex(folder, mutated), tmp_path) == (
        f"chain B of one does not match its sequence: position 9 is {other}, the structure's residue 9 is {right[8]}; "
        "correct the entry's chains or its reference"
    )


def test_stoichiometry(tmp_path: Path) -> None:
    folder = written(tmp_path, dimers())
    uneven = [{**GROUPS[0], "names": ["A", "C"]}, {**GROUPS[1], "names": ["B"]}]
    assert refusal(of_complex(folder, uneven), tmp_path) == (
        "chains B, D are 2 copies of one protein, one names 1 (B); name all chains of the complex"
    )
    assert "2 copies of alpha are not a multiple of the 4 that C4 asks for" in refusal(
        of_complex(folder, symmetry="C4"), tmp_path
    )
    # The file may hold several whole complexes: one of them is meant.
    half = [{**GROUPS[0], "names": ["A"]}, {**GROUPS[1], "names": ["B"]}]
    assert set(load_reference(of_complex(folder, half), tmp_path).chain_id) == {"A", "B"}


def test_a_state_is_made_of_the_chains_that_match_the_reference_s(tmp_path: Path) -> None:
    """Other names, another order, a chain that does not belong to it, and copies that have changed places."""
    whole = dimers()
    stranger = made_protein(40, 9)
    there = joined(
        [
            named(stranger.moved(stranger.positions_xyz + 80), "A"),
            reordered(elsewhere(whole, 2), "DCBA", {"D": "P", "C": "Q", "B": "R", "A": "S"}),
        ]
    )
    folder = written(written(tmp_path, whole), there, "open.cif")
    states = [{"state_id": "open", "kind": "structure", "source": "here", "file": "open.cif"}]
    given = of_complex(folder, states=states, simulation={"resolution": 8.0})
    reference = load_reference(given, tmp_path)
    state = load_state(given, given.states[0], reference, tmp_path)
    assert state is not None
    assert sequence_of(state) == sequence_of(reference)
    assert set(state.chain_id) == set("PQRS")
    assert rmsd_superposed(state.positions_xyz, reference.positions_xyz) < 3e-3
    written(tmp_path, reordered(there, "AQRS"), "open.cif")
    with pytest.raises(StructureError) as raised:
        load_state(given, given.states[0], reference, tmp_path)
    assert str(raised.value).endswith(
        "open.cif: none of its chains (A, Q, R, S) is left to match chain D of the reference; "
        "give a structure of the whole complex"
    )


def test_a_frame_of_a_trajectory_has_the_chains_of_the_reference(tmp_path: Path) -> None:
    whole = dimers()
    folder = written(written(tmp_path, whole), reordered(whole, "BADC"), "top.cif")
    frame = DCDFile()
    frame.set_coord(read_complex(folder / "top.cif").positions_xyz[None] + np.float32(7))
    frame.write(tmp_path / "t.dcd")
    state = {
        "state_id": "f",
        "kind": "trajectory",
        "source": "here",
        "file": "t.dcd",
        "topology": "top.cif",
        "frame": 0,
    }
    given = of_complex(folder, states=[state], simulation={"resolution": 8.0})
    reference = load_reference(given, tmp_path)
    found = load_state(given, given.states[0], reference, tmp_path)
    assert found is not None
    np.testing.assert_allclose(found.positions_xyz, reference.positions_xyz + 7, atol=2e-3)
    np.testing.assert_array_equal(found.chain_id, reference.chain_id)


@pytest.mark.shared
def test_an_entry_of_one_chain_is_that_chain_as_it_is_read(
    repository: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data / "calmodulin/seed"))
    for name in ("1exr", "4cln"):
        given = load_entry(repository / f"configs/catalog/calmodulin/{name}.yaml")
        read = read_model(source_file(given, "structure", None, tmp_path), given.reference.chain)
        for field, expected in vars(read).items():
            np.testing.assert_array_equal(getattr(load_reference(given, tmp_path), field), expected)


@pytest.mark.shared
def test_haemoglobin_and_its_deposited_sequences(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "maps/emd3488_5ni1"
    fasta = (folder / "5ni1_entry.fasta").read_text().split(">")[1:]
    alpha, beta = ("".join(each.splitlines()[1:]) for each in fasta)
    groups = [{"names": ["A", "C"], "sequence": alpha}, {"names": ["B", "D"], "sequence": beta}]
    given = of_complex(folder, groups, symmetry="C2", reference={"source": "here", "file": "5ni1_updated.cif.gz"})
    reference = load_reference(given, tmp_path)
    assert {name: len(rows) for name, rows in chain_rows(reference).items()} == {"A": 141, "C": 141, "B": 146, "D": 146}
    built = StructureChoice(source="here", file="modelangelo_5ni1.cif.gz", chain=None, model=0, residues=None)
    other = load_structure(given, built, reference, tmp_path)
    assert list(chain_rows(other)) == ["Aa", "Ab", "Ba", "Bb"]


def test_a_file_named_by_a_pattern(tmp_path: Path) -> None:
    folder = made_series(tmp_path, frames(1))
    assert load_reference(entry(folder, reference={"source": "here", "file": "mod*.cif"}), tmp_path).n_residues == 60
    with pytest.raises(SourceError, match=r"none\*.cif: not in source here of one; correct the entry's file"):
        load_reference(entry(folder, reference={"source": "here", "file": "none*.cif"}), tmp_path)
