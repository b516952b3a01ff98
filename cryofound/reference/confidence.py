"""What a predictor says of its own model: pLDDT per token, predicted aligned error, scores of the whole."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cryofound.errors import StructureError
from cryofound.reference.embeddings import read_member

AGAIN = "copy it again, or run boltz predict again with --override"


@dataclass(frozen=True)
class Confidence:
    """Confidence in one model.

    plddt (token,) float32 from 0 to 1; pae (token, token) float32 angstrom, the error expected at the second token
    when the first one's frame is superposed, None where it was not written; scores: confidence_score, ptm, iptm and
    others by the names of the program; pair_chains_iptm (chain, chain) float32 over all chains, also those of ligands,
    None where it was not written.
    """

    plddt: np.ndarray
    pae: np.ndarray | None = None
    scores: dict[str, float] = field(default_factory=dict)
    pair_chains_iptm: np.ndarray | None = None


def read_boltz_confidence(scores: Path, plddt: Path, pae: Path | None) -> Confidence:
    """The confidence of one model from what boltz wrote beside it.

    Raises StructureError with one line if a file is damaged, is not finite, or has another number of tokens.
    """
    values = read_member(plddt, "plddt").astype(np.float32)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise StructureError(f"{plddt}: pLDDT must be one number from 0 to 1 for each token; {AGAIN}")
    errors = None
    if pae is not None:
        errors = read_member(pae, "pae").astype(np.float32)
        check_pae(pae, errors, len(values))
    told = read_json(scores)
    if not isinstance(told, dict) or not isinstance(told.get("confidence_score"), float):
        raise StructureError(f"{scores}: says no confidence_score; {AGAIN}")
    numbers = {name: value for name, value in told.items() if isinstance(value, float)}
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise StructureError(f"{scores}: {bad[0]} is {numbers[bad[0]]}; the prediction failed, run it again")
    return Confidence(values, errors, numbers, _pairs(scores, told.get("pair_chains_iptm")))


def check_pae(path: Path, pae: np.ndarray, n_tokens: int) -> None:
    """Raise StructureError if a predicted aligned error is not (token, token), finite and non-negative."""
    if pae.shape != (n_tokens, n_tokens):
        raise StructureError(
            f"{path}: predicted aligned error of shape {' x '.join(map(str, pae.shape))}, its model has {n_tokens} "
            "tokens; take both files from one prediction"
        )
    if not (np.isfinite(pae).all() and (pae >= 0).all()):
        raise StructureError(f"{path}: a predicted aligned error is negative or no number; {AGAIN}")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises StructureError with one line if it is not there or broken."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    except ValueError as error:
        raise StructureError(f"{path}: not valid JSON ({error}); {AGAIN}") from None


def _pairs(path: Path, told: Any) -> np.ndarray | None:
    """Boltz writes the matrix as dictionaries of dictionaries, with the chains' numbers as text for keys."""
    if not told:
        return None
    try:
        rows = [str(row) for row in range(len(told))]
        return np.array([[told[first][second] for second in rows] for first in rows], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        raise StructureError(f"{path}: pair_chains_iptm is no matrix over the chains; {AGAIN}") from None
