"""A prediction: the models of one protein or complex that a predictor made, with its confidence in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cryofound.errors import StructureError
from cryofound.reference.confidence import Confidence
from cryofound.reference.domains import rigid_domains
from cryofound.reference.embeddings import read_embedding
from cryofound.reference.tokens import Tokens
from cryofound.structure.atomic_model import AtomicModel

Program = Literal["boltz-2", "boltz-1", "boltz", "alphafold", "structure"]


@dataclass(frozen=True)
class PredictedModel:
    """One model of a prediction: its file, its rank there (0 is best), its atoms; confidence None for a plain file."""

    path: Path
    rank: int
    atoms: AtomicModel
    confidence: Confidence | None


@dataclass(frozen=True)
class Prediction:
    """The models, best first, that share tokens and embeddings.

    `program` is what made them, "boltz" where the files do not tell which, "structure" for a plain structure file;
    `embeddings` is the file that holds them, if they were written; `files` gives the sha256 of every file by its path
    inside `folder`.
    """

    name: str
    program: Program
    folder: Path
    models: tuple[PredictedModel, ...]
    tokens: Tokens
    embeddings: Path | None
    files: Mapping[str, str]

    @property
    def best(self) -> PredictedModel:
        return self.models[0]

    def residue_confidence(self, model: int = 0) -> np.ndarray | None:
        """(residue,) float32: pLDDT from 0 to 1 of the models[model]; None for a plain structure file."""
        confidence = self.models[model].confidence
        return None if confidence is None else self.tokens.per_residue(confidence.plddt)

    def residue_pae(self, model: int = 0) -> np.ndarray | None:
        """(residue, residue) float32 angstrom: predicted aligned error of models[model]; None if none was written."""
        confidence = self.models[model].confidence
        pae = None if confidence is None else confidence.pae
        return None if pae is None else self.tokens.per_residue_pair(pae)

    def domains(self, model: int = 0) -> np.ndarray | None:
        """(residue,) int16 rigid domains of models[model], -1 outside them; None if no aligned error was written."""
        pae = self.residue_pae(model)
        return None if pae is None else rigid_domains(pae)

    def residue_embedding(self) -> np.ndarray:
        """(residue, width) float32: the single embedding `s`, read now; raises StructureError if none was written."""
        if self.embeddings is None:
            raise StructureError(f"{self.folder}: holds no embeddings; run boltz predict with --write_embeddings")
        return self.tokens.per_residue(read_embedding(self.embeddings, len(self.tokens)))
