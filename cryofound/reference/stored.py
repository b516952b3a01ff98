"""What a store keeps of a prediction beside its atoms: confidence, domains, aligned error, embedding, origin."""

from typing import Any

import numpy as np

from cryofound.reference.prediction import Prediction
from cryofound.structure.chains import chain_rows

PAE_STEPS_PER_ANGSTROM = 8  # the programs end at 31.75 A, which is 254


def stored_arrays(prediction: Prediction, model: int = 0) -> dict[str, np.ndarray]:
    """The arrays of models[model] to be stored with a system, rows as the residues of its atoms; absent ones left out.

    confidence (residue,) float32 pLDDT from 0 to 1; domains (residue,) int16, -1 outside; pae (residue, residue) uint8
    in eighths of an angstrom (`restored_pae` undoes it), largest value 255; embedding (residue, width) float32.
    """
    pae = prediction.residue_pae(model)
    arrays = {
        "confidence": prediction.residue_confidence(model),
        "domains": prediction.domains(model),
        "pae": None if pae is None else np.clip(np.rint(PAE_STEPS_PER_ANGSTROM * pae), 0, 255).astype(np.uint8),
        "embedding": None if prediction.embeddings is None else prediction.residue_embedding(),
    }
    return {name: array for name, array in arrays.items() if array is not None}


def restored_pae(stored: np.ndarray) -> np.ndarray:
    """(residue, residue) float32 angstrom, to 1/16 A what `stored_arrays` was given."""
    return stored.astype(np.float32) / PAE_STEPS_PER_ANGSTROM


def provenance(prediction: Prediction, model: int = 0) -> dict[str, Any]:
    """What the arrays came from, ready for JSON: program, model, scores, chains, and the sha256 of every file."""
    chosen = prediction.models[model]
    return {
        "name": prediction.name,
        "program": prediction.program,
        "model": chosen.path.name,
        "rank": chosen.rank,
        "scores": {} if chosen.confidence is None else dict(chosen.confidence.scores),
        "chains": {name: len(rows) for name, rows in chain_rows(chosen.atoms).items()},
        "tokens": len(prediction.tokens),
        "files": dict(prediction.files),
    }
