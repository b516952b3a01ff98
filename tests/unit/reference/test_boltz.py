"""Folders of `boltz predict`: what the real command wrote is understood, and what it did not finish is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.reference.boltz import read_boltz
from cryofound.reference.sequences import chain_sequences, chains_of, check_chains, read_fasta
from cryofound.structure.alignment import rmsd_superposed
from tests.tiny_boltz import SEQUENCES, TOKEN_WIDTH, TOKENS

REAL = "boltz2_protein_ligand/results/boltz_results_input"
BOLTZ_1 = "boltz1_complexes/digbiolab_boltz_results_input_folder"


@pytest.fixture
def results(boltz_results: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(boltz_results, tmp_path / boltz_results.name))


@pytest.mark.slow
def test_folder_its_parent_and_its_prediction_are_the_same(boltz_results: Path, tmp_path: Path) -> None:
    inside = boltz_results / "predictions" / "made"
    alone = shutil.copytree(inside, tmp_path / "renamed")
    read = [read_boltz(path) for path in (boltz_results, boltz_results.parent, inside, Path(alone))]
    assert {each.name for each in read} == {"made"}
    assert {each.program for each in read} == {"boltz-2"}
    assert len({tuple(each.files.items()) for each in read}) == 1
    assert len(read[0].files) == 11


@pytest.mark.slow
def test_chains_tokens_and_confidence_of_a_complex_with_a_ligand(boltz_results: Path) -> None:
    prediction = read_boltz(boltz_results, samples="all")
    assert chain_sequences(prediction.best.atoms) == {
        "A": SEQUENCES["hinge"], "B": SEQUENCES["hinge"], "D": SEQUENCES["clamp"],
    }  # fmt: skip
    tokens = prediction.tokens
    assert (len(tokens), tokens.chains) == (TOKENS, ("A", "B", "C", "D"))
    np.testing.assert_array_equal(tokens.residue, [*range(20), *[-1] * 4, *range(20, 28)])
    # boltz writes 100 pLDDT as B-factors by code of its own: the map of tokens agrees with it atom by atom
    for model in prediction.models:
        assert model.confidence is not None
        by_file = [
            [atom.b_iso for atom in residue][0 if residue.het_flag == "A" else slice(None)]
            for chain in gemmi.read_structure(str(model.path))[0]
            for residue in chain
        ]
        np.testing.assert_allclose(100 * model.confidence.plddt, np.hstack(by_file), atol=1e-3)
    best = prediction.best.confidence
    assert best is not None
    assert best.pae is not None
    assert best.pair_chains_iptm is not None
    assert best.pair_chains_iptm.shape == (4, 4)
    kept = tokens.residue >= 0
    np.testing.assert_array_equal(prediction.residue_confidence(), best.plddt[kept])
    np.testing.assert_array_equal(prediction.residue_pae(), best.pae[kept][:, kept])


@pytest.mark.slow
def test_models_come_by_their_confidence_score(results: Path) -> None:
    ranked = read_boltz(results, samples="all").models
    assert [model.rank for model in ranked] == [0, 1]
    path = results / "predictions/made/confidence_made_model_1.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"confidence_score": 0.99}))
    assert [model.rank for model in read_boltz(results, samples="all").models] == [1, 0]
    assert [model.rank for model in read_boltz(results).models] == [1]


@pytest.mark.slow
def test_embeddings_are_those_that_boltz_wrote(boltz_results: Path) -> None:
    prediction = read_boltz(boltz_results)
    embedding = prediction.residue_embedding()
    assert embedding.shape == (28, TOKEN_WIDTH)
    with np.load(boltz_results / "predictions/made/embeddings_made.npz") as written:
        np.testing.assert_array_equal(embedding, np.delete(written["s"][0], range(20, 24), axis=0))
    # the two copies of one chain differ by their place in the complex alone
    copies = np.linalg.norm(embedding[:10] - embedding[10:20], axis=1)
    others = np.linalg.norm(embedding[:8] - embedding[20:], axis=1)
    assert np.median(copies) < np.median(others)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


MADE = "predictions/made/"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "out of memory": (lambda r: shutil.rmtree(r / MADE), r"made: missing, though .* lists it: boltz skips"),
    "nothing inside": (
        lambda r: [each.unlink() for each in (r / MADE).iterdir()], r"holds no model: boltz skips .*--override",
    ),
    "input not read": (
        lambda r: (shutil.rmtree(r / MADE), (r / "processed/manifest.json").write_text('{"records": []}')),
        r"boltz could not read its input",
    ),
    "manifest broken": (lambda r: (r / "processed/manifest.json").write_text("{"), r"manifest\.json: not valid JSON"),
    "manifest of others": (lambda r: (r / "processed/manifest.json").write_text("[]"), r"lists no records"),
    "rank gap": (lambda r: (r / MADE / "made_model_0.cif").unlink(), r"made_model_0 is missing of models 0 to 1"),
    "no confidence": (
        lambda r: (r / MADE / "confidence_made_model_1.json").unlink(), r"confidence_made_model_1\.json is missing",
    ),
    "no aligned error": (lambda r: (r / MADE / "pae_made_model_1.npz").unlink(), r"pae_made_model_1\.npz is missing"),
    "json broken": (
        lambda r: (r / MADE / "confidence_made_model_0.json").write_text('{"confidence_score": 0.'), r"not valid JSON",
    ),
    "json without score": (
        lambda r: (r / MADE / "confidence_made_model_0.json").write_text("{}"), r"says no confidence_score",
    ),
    "json not finite": (
        lambda r: (r / MADE / "confidence_made_model_0.json").write_text('{"confidence_score": NaN}'),
        r"confidence_score is nan",
    ),
    "json without a pair": (
        lambda r: (r / MADE / "confidence_made_model_0.json").write_text(
            '{"confidence_score": 0.9, "pair_chains_iptm": {"0": {"1": 0.1}}}'
        ),
        r"pair_chains_iptm is no matrix",
    ),
    "plddt cut": (lambda r: cut(r / MADE / "plddt_made_model_0.npz"), r"plddt_made_model_0\.npz: cut short or damaged"),
    "pae of another": (
        lambda r: np.savez(r / MADE / "pae_made_model_0.npz", pae=np.zeros((9, 9))), r"shape 9 x 9, its model has 32",
    ),
    "plddt of another": (
        lambda r: np.savez(r / MADE / "plddt_made_model_0.npz", plddt=np.ones(9)), r"shape 32 x 32, its model has 9",
    ),
    "plddt in percent": (
        lambda r: np.savez(r / MADE / "plddt_made_model_0.npz", plddt=np.full(32, 90.0)), r"from 0 to 1",
    ),
    "wrong array": (lambda r: np.savez(r / MADE / "pae_made_model_0.npz", pde=np.ones(9)), r"holds pde but no pae"),
    "structure empty": (lambda r: (r / MADE / "made_model_0.cif").write_text("data_model\n"), r"holds no atoms"),
    "structure cut": (lambda r: cut(r / MADE / "made_model_0.cif"), r"made_model_0\.cif: "),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE.keys())
def test_unfinished_or_damaged_folder_gives_one_line(
    results: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(results)
    with pytest.raises(StructureError, match=told) as error:
        read_boltz(results)
    assert str(results) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_files_of_two_runs_are_told_by_their_tokens(results: Path) -> None:
    inside = results / "predictions/made"
    np.savez(inside / "plddt_made_model_0.npz", plddt=np.full(31, 0.5, dtype=np.float32))
    np.savez(inside / "pae_made_model_0.npz", pae=np.ones((31, 31), dtype=np.float32))
    with pytest.raises(StructureError, match=r"make 32 tokens, its confidence has 31"):
        read_boltz(results)


@pytest.mark.slow
def test_one_of_several_predictions_must_be_chosen(results: Path) -> None:
    manifest = json.loads((results / "processed/manifest.json").read_text())
    manifest["records"].append(manifest["records"][0] | {"id": "large"})
    (results / "processed/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StructureError, match=r"holds 2 predictions: large \(not finished\), made; name one"):
        read_boltz(results)
    assert read_boltz(results, "made").name == "made"
    assert read_boltz(results / "predictions/made").name == "made"
    for lost in (lambda: read_boltz(results, "large"), lambda: read_boltz(results / "predictions/large")):
        with pytest.raises(StructureError, match=r"large: missing, though"):
            lost()
    with pytest.raises(StructureError, match=r"holds no prediction small; it has large, made"):
        read_boltz(results, "small")


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match="no such folder"):
        read_boltz(tmp_path / "none")
    with pytest.raises(StructureError, match="holds nothing that boltz predict writes"):
        read_boltz(tmp_path)
    for stem in ("one", "two"):
        (tmp_path / f"boltz_results_{stem}" / "predictions").mkdir(parents=True)
    with pytest.raises(StructureError, match=r"holds 2 outputs of boltz \(boltz_results_one, boltz_results_two\)"):
        read_boltz(tmp_path)
    with pytest.raises(StructureError, match="could not read its input"):
        read_boltz(tmp_path / "boltz_results_one")


@pytest.mark.shared
def test_real_boltz_2_folder(shared_data: Path) -> None:
    prediction = read_boltz(shared_data / "boltz" / REAL)
    assert (prediction.program, prediction.name, prediction.embeddings) == ("boltz-2", "input", None)
    assert (prediction.best.atoms.n_residues, len(prediction.tokens)) == (384, 397)
    assert (prediction.tokens.residue[384:] == -1).all()
    assert prediction.best.confidence is not None
    assert prediction.best.confidence.scores["iptm"] == pytest.approx(0.897312581539154)
    structure = gemmi.read_structure(str(prediction.best.path))
    b_factors = [residue[0].b_iso for residue in structure[0]["A"]] + [atom.b_iso for atom in structure[0]["B"][0]]
    np.testing.assert_allclose(100 * prediction.best.confidence.plddt, b_factors, atol=1e-3)
    with pytest.raises(StructureError, match="run boltz predict with --write_embeddings"):
        prediction.residue_embedding()


@pytest.mark.shared
def test_real_boltz_1_folders(shared_data: Path) -> None:
    folder = shared_data / "boltz" / BOLTZ_1
    samples = read_boltz(folder, "pdl1_binder", "all")
    assert (samples.program, len(samples.models)) == ("boltz-1", 3)
    scores = [model.confidence.scores["confidence_score"] for model in samples.models if model.confidence]
    assert scores == sorted(scores, reverse=True)
    first, second = (model.atoms.ca_xyz() for model in samples.models[:2])
    assert 0.05 < rmsd_superposed(first, second) < 5
    fused = read_boltz(folder / "predictions/pmhc_binder_fused_target_chain")
    given = shared_data / "boltz/boltz1_complexes/digbiolab_input_folder"
    check_chains(samples, chains_of(read_fasta(given / "pdl1_binder.fasta")))
    check_chains(fused, chains_of(read_fasta(given / "pmhc_binder_fused_target_chain.fasta")))
    with pytest.raises(StructureError, match=r"pmhc_binder_multi_target_chain: missing, though"):
        read_boltz(folder, "pmhc_binder_multi_target_chain")
