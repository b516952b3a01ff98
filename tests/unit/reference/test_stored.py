"""What is stored of a prediction is what was read, to the stated error."""

import json
from pathlib import Path

import numpy as np
import pytest

from cryofound.manifest import file_sha256
from cryofound.reference.boltz import read_boltz
from cryofound.reference.confidence import Confidence
from cryofound.reference.prediction import PredictedModel, Prediction
from cryofound.reference.stored import provenance, restored_pae, stored_arrays
from cryofound.reference.tokens import residue_tokens
from tests.made_proteins import made_protein

ATOMS = made_protein(40)


def made(confidence: Confidence | None) -> Prediction:
    models = (PredictedModel(Path("x_model_0.cif"), 0, ATOMS, confidence),)
    return Prediction("x", "boltz-2", Path("out"), models, residue_tokens(ATOMS), None, {"x_model_0.cif": "00"})


def test_aligned_error_to_a_sixteenth_of_an_angstrom() -> None:
    rng = np.random.default_rng(0)
    pae = rng.uniform(0, 31.75, (40, 40)).astype(np.float32)
    pae[0, 0], pae[0, 1] = 31.75, 0.0
    arrays = stored_arrays(made(Confidence(rng.uniform(0, 1, 40).astype(np.float32), pae)))
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "confidence": ("float32", (40,)), "domains": ("int16", (40,)), "pae": ("uint8", (40, 40)),
    }  # fmt: skip
    assert np.abs(restored_pae(arrays["pae"]) - pae).max() <= 1 / 16
    assert restored_pae(arrays["pae"])[0, 0] == 31.75


def test_what_is_not_there_is_left_out() -> None:
    assert list(stored_arrays(made(Confidence(np.ones(40, dtype=np.float32))))) == ["confidence"]
    assert stored_arrays(made(None)) == {}
    assert provenance(made(None))["scores"] == {}


@pytest.mark.slow
def test_real_prediction(boltz_results: Path) -> None:
    prediction = read_boltz(boltz_results, samples="all")
    arrays = stored_arrays(prediction, 1)
    np.testing.assert_array_equal(arrays["embedding"], prediction.residue_embedding())
    np.testing.assert_array_equal(arrays["confidence"], prediction.residue_confidence(1))
    told = json.loads(json.dumps(provenance(prediction, 1)))
    assert (told["model"], told["chains"], told["tokens"]) == ("made_model_1.cif", {"A": 10, "B": 10, "D": 8}, 32)
    inside = boltz_results / "predictions" / "made"
    assert told["files"] == {path.name: file_sha256(path) for path in inside.iterdir()}
