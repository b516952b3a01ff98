"""Expected chains: whatever differs is said with the chain, the position and both letters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.reference.prediction import PredictedModel, Prediction
from cryofound.reference.sequences import ProteinChain, chain_sequences, chains_of, check_chains, read_fasta
from cryofound.reference.tokens import residue_tokens
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import joined
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def chain(name: str, residues: int, seed: int) -> AtomicModel:
    return replace(made_protein(residues, seed), chain_id=np.array([name] * residues))


ATOMS = joined([chain("A", 20, 1), chain("B", 20, 1), chain("C", 24, 2)])
ALPHA, BETA = chain_sequences(ATOMS)["A"], chain_sequences(ATOMS)["C"]
PREDICTION = Prediction(
    "made", "boltz-2", Path("out"), (PredictedModel(Path("made_model_0.cif"), 0, ATOMS, None),),
    residue_tokens(ATOMS), None, {},
)  # fmt: skip


def expected(alpha: str = ALPHA, beta: str = BETA, copies: int = 2) -> tuple[ProteinChain, ...]:
    return chains_of({"alpha": alpha, "beta": beta}, {"alpha": copies})


def refusal(chains: tuple[ProteinChain, ...], prediction: Prediction = PREDICTION) -> str:
    with pytest.raises(StructureError) as error:
        check_chains(prediction, chains)
    assert "\n" not in str(error.value)
    return str(error.value)


def other(letter: str) -> str:
    return "A" if letter != "A" else "W"


def test_the_right_chains_pass_also_with_x() -> None:
    check_chains(PREDICTION, expected())
    check_chains(PREDICTION, expected(alpha="X" + ALPHA[1:]))


def test_one_wrong_letter() -> None:
    wrong = ALPHA[:4] + other(ALPHA[4]) + ALPHA[5:]
    told = refusal(expected(alpha=wrong))
    assert f"chain A, alpha: position 5 is {other(ALPHA[4])} in the sequence and {ALPHA[4]} in the prediction" in told


def test_a_residue_too_many_or_few() -> None:
    told = refusal(expected(beta=BETA + "G"))
    assert "chain C, beta: position 25 is G in the sequence and nothing in the prediction (25 and 24 residues)" in told
    assert "position 24 is nothing" in refusal(expected(beta=BETA[:-1]))


def test_a_missing_chain() -> None:
    told = refusal(expected(copies=3))
    assert "3 protein chains (A, B, C), expected were 3 of alpha and 1 of beta; predict all chains" in told


def test_two_sequences_swapped() -> None:
    told = refusal(chains_of({"beta": BETA, "other": ALPHA, "alpha": ALPHA}))
    assert "chain A, beta: has the sequence of alpha, and chain C that of beta; the two are swapped" in told


def test_chains_are_found_by_name_where_they_have_one() -> None:
    named = [ProteinChain("beta", BETA, "C"), ProteinChain("alpha", ALPHA, "B"), ProteinChain("alpha", ALPHA, "A")]
    check_chains(PREDICTION, named)
    told = refusal((*named[:2], ProteinChain("alpha", ALPHA, "D")))
    assert "3 protein chains (A, B, C), expected were 1 of beta and 2 of alpha called C, B, D" in told


def test_a_plain_structure_may_lack_residues_but_not_differ(tmp_path: Path) -> None:
    atoms = chain("A", 30, 3)
    write_ensemble(tmp_path / "x.cif", atoms, atoms.positions_xyz[None])
    plain = replace(PREDICTION, program="structure", models=(PredictedModel(tmp_path / "x.cif", 0, atoms, None),))
    (letters,) = chain_sequences(atoms).values()
    check_chains(plain, (ProteinChain("x", "GS" + letters[:10] + "AAA" + letters[10:]),))
    told = refusal((ProteinChain("x", letters[:9] + other(letters[9]) + letters[10:]),), plain)
    assert f"chain A, x: position 10 is {other(letters[9])}, the structure's residue 10 is {letters[9]}" in told


def test_fasta_is_read_with_its_first_words(tmp_path: Path) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">alpha first\nmkt ay\nIAK\n\n>beta\nGSHW\n")
    assert read_fasta(path) == {"alpha": "MKTAYIAK", "beta": "GSHW"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no sequence"),
        ("MKTAY", "does not start with '>name'"),
        (">\nMKTAY", "name '' is empty or used twice"),
        (">a\nMKTAY\n>a\nMKTAY", "name 'a' is empty or used twice"),
        (">a\nMKT1Y", "a: '1' at position 4 is no amino acid"),
        (">a\n>b\nMKTAY", "a: 0 residues"),
    ],
)
def test_bad_fasta_gives_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(text)
    with pytest.raises(StructureError, match=told):
        read_fasta(path)


def test_missing_fasta_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="cannot be read"):
        read_fasta(tmp_path / "none.fasta")
    with pytest.raises(StructureError, match="stoichiometry names gamma, the sequences are alpha"):
        chains_of({"alpha": ALPHA}, {"gamma": 2})
