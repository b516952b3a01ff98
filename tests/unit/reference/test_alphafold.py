"""Single files: AlphaFold models with their aligned error, and structures of which nothing is predicted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.reference.alphafold import read_structure_file
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein

MADE = made_protein(30)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that is named as those of the AlphaFold database are, with pLDDT as B-factors, and its aligned error."""
    write(tmp_path / "AF-X-F1-model_v6.cif", MADE, 80.0)
    (tmp_path / "AF-X-F1-predicted_aligned_error_v6.json").write_text(pae_json(np.full((30, 30), 4)))
    return tmp_path / "AF-X-F1-model_v6.cif"


def write(path: Path, atoms: AtomicModel, b_factor: float) -> None:
    write_ensemble(path, atoms, atoms.positions_xyz[None], np.full(atoms.n_atoms, b_factor))


def pae_json(pae: np.ndarray) -> str:
    return json.dumps([{"predicted_aligned_error": pae.tolist(), "max_predicted_aligned_error": 31.75}])


def test_model_and_error_belong_together_by_name(model: Path) -> None:
    prediction = read_structure_file(model)
    assert prediction.program == "alphafold"
    np.testing.assert_allclose(prediction.residue_confidence(), np.full(30, 0.8, dtype=np.float32))
    np.testing.assert_array_equal(prediction.residue_pae(), np.full((30, 30), 4))
    assert list(prediction.files) == [model.name, "AF-X-F1-predicted_aligned_error_v6.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (pae_json(np.zeros((29, 29))), "shape 29 x 29, its model has 30"),
        (pae_json(np.full((30, 30), -1)), "negative"),
        ("[{}]", "holds no predicted_aligned_error or pae"),
        ('[{"pae": [[1, 2], [3]]}]', "no matrix of numbers"),
        ("[{", "not valid JSON"),
    ],
)
def test_bad_aligned_error_gives_one_line(model: Path, text: str, told: str) -> None:
    model.with_name("AF-X-F1-predicted_aligned_error_v6.json").write_text(text)
    with pytest.raises(StructureError, match=told) as error:
        read_structure_file(model)
    assert "\n" not in str(error.value)


def test_b_factors_of_an_experiment_are_no_confidence(tmp_path: Path) -> None:
    write(tmp_path / "x.cif", MADE, 250.0)
    prediction = read_structure_file(tmp_path / "x.cif")
    assert (prediction.program, prediction.residue_confidence(), prediction.domains()) == ("structure", None, None)
    (tmp_path / "pae.json").write_text(pae_json(np.zeros((30, 30))))
    with pytest.raises(StructureError, match=r"is no predicted model, but .*pae\.json was given"):
        read_structure_file(tmp_path / "x.cif", tmp_path / "pae.json")
    shutil.move(tmp_path / "x.cif", tmp_path / "AF-X-F1-model_v6.cif")
    with pytest.raises(StructureError, match="not from 0 to 100"):
        read_structure_file(tmp_path / "AF-X-F1-model_v6.cif")


@pytest.mark.slow
def test_a_single_file_of_boltz_says_that_it_has_plddt(boltz_results: Path) -> None:
    prediction = read_structure_file(boltz_results / "predictions/made/made_model_0.cif")
    confidence = prediction.residue_confidence()
    assert confidence is not None
    with np.load(boltz_results / "predictions/made/plddt_made_model_0.npz") as arrays:
        np.testing.assert_allclose(confidence, np.delete(arrays["plddt"], range(20, 24)), atol=1e-5)


@pytest.mark.shared
def test_real_alphafold_models(shared_data: Path) -> None:
    calmodulin = read_structure_file(shared_data / "calmodulin/predicted/AF-P0DP23-F1-model_v6.cif")
    confidence = calmodulin.residue_confidence()
    assert confidence is not None
    assert 100 * confidence.mean() == pytest.approx(85.24, abs=0.01)  # the file's own _ma_qa_metric_global
    pae = calmodulin.residue_pae()
    assert pae is not None
    assert (pae[0, :5].tolist(), pae.shape) == ([0, 1, 3, 6, 8], (149, 149))
    receptor = read_structure_file(shared_data / "families/gpcr_class_a/predicted/AF2_ntr1_human.pdb.gz")
    assert (receptor.program, receptor.best.atoms.n_residues, receptor.residue_pae()) == ("alphafold", 418, None)


@pytest.mark.shared
def test_a_tetramer_keeps_its_chains(shared_data: Path) -> None:
    prediction = read_structure_file(shared_data / "families/trp_channel/7l2i.cif.gz")
    chains, counts = np.unique(prediction.best.atoms.chain_id, return_counts=True)
    assert (prediction.program, len(chains)) == ("structure", 4)
    assert len(set(counts.tolist())) == 1
