"""`cryofound reference`: what it prints, and its one line for every fault."""

from pathlib import Path

import pytest
import yaml

from cryofound.cli import main
from cryofound.reference.sequences import chain_sequences
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein
from tests.tiny_boltz import LIGAND, SEQUENCES

MADE = made_protein(30)
(LETTERS,) = chain_sequences(MADE).values()


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    write_ensemble(tmp_path / "x.cif", MADE, MADE.positions_xyz[None])
    (tmp_path / "x.fasta").write_text(f">x\n{LETTERS}\n")
    return tmp_path / "x.cif"


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["reference", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_show_prints_chains_and_files(structure: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "show", str(structure)]) == 0
    printed = capsys.readouterr().out
    assert "x: structure, 1 models, 30 residues, 30 tokens, embeddings not written" in printed
    assert LETTERS in printed
    assert "no predicted aligned error was written" in printed


@pytest.mark.slow
def test_show_and_check_a_boltz_folder(boltz_results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert LIGAND
    assert main(["reference", "show", str(boltz_results)]) == 0
    printed = capsys.readouterr().out
    assert "made: boltz-2, 2 models, 28 residues, 32 tokens, embeddings written" in printed
    assert "no protein: chains C" in printed
    assert "embeddings_made.npz" in printed
    fasta = tmp_path / "made.fasta"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in SEQUENCES.items()))
    check = ["reference", "check", str(boltz_results), "--sequences", str(fasta), "--stoichiometry"]
    assert main([*check, "hinge=2"]) == 0
    assert capsys.readouterr().out == "made: 3 chains, 28 residues, all as stated\n"
    assert "expected were 3 of hinge and 1 of clamp" in refusal([*check[1:], "hinge=3"], capsys)


def test_check_by_entry(structure: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = yaml.safe_load((repository / "configs/catalog/ubiquitin.yaml").read_text())
    entry = structure.with_name("entry.yaml")
    check = ["check", str(structure), "--entry", str(entry)]
    facts |= {"sequence": None, "chains": [{"names": ["A"], "sequence": LETTERS}]}
    entry.write_text(yaml.safe_dump(facts))
    assert main(["reference", *check]) == 0
    capsys.readouterr()
    letter = "A" if LETTERS[0] != "A" else "W"
    facts |= {"chains": [{"names": ["A"], "sequence": letter + LETTERS[1:]}]}
    entry.write_text(yaml.safe_dump(facts))
    assert f"position 1 is {letter}" in refusal(check, capsys)
    facts |= {"chains": [{"names": ["A"]}]}
    entry.write_text(yaml.safe_dump(facts))
    assert "states no sequence of chain A" in refusal(check, capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "which chains? give a catalog entry, or --sequences"),
        (["--sequences", "x.fasta", "--stoichiometry", "x"], "--stoichiometry x: write it as NAME=VALUE"),
        (["--sequences", "x.fasta", "--stoichiometry", "x=0"], "the number of copies must be 1 or more"),
        (["--sequences", "x.fasta", "--stoichiometry", "y=2"], "stoichiometry names y, the sequences are x"),
        (["--sequences", "x.fasta", "--msa", "y=y.a3m"], "--msa names y, the proteins are x"),
        (["--sequences", "x.fasta", "--samples", "0"], "--samples 0: must be 1 or more"),
        (["--sequences", "x.fasta"], "holds no mols.tar, no mols, no boltz2_conf.ckpt, no boltz2_aff.ckpt"),
    ],
)
def test_predict_refuses_in_one_line(
    structure: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(structure.parent)
    monkeypatch.setenv("BOLTZ_CACHE", str(structure.parent / "cache"))
    assert told in refusal(["predict", *arguments, "--out", "out"], capsys)
    assert not Path("out").exists()
