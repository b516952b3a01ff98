"""Tokens: what each row of a prediction's confidence and embeddings stands for, a residue or an atom of a ligand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel
from cryofound.structure.files import open_structure

NUCLEOTIDES = ("A", "G", "C", "U", "N", "DA", "DG", "DC", "DT", "DN")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a prediction, in its order.

    chains: names of all chains, also of ligands and nucleic acids; chain (token,) int64 row of chains; residue (token,)
    int64 row of the atomic model's residues, -1 for what is no residue of a protein; n_residues of that model.
    """

    chains: tuple[str, ...]
    chain: np.ndarray
    residue: np.ndarray
    n_residues: int

    def __len__(self) -> int:
        return len(self.chain)

    def per_residue(self, values: np.ndarray) -> np.ndarray:
        """Means over each residue's tokens of values (token, ...): (residue, ...) of the same dtype."""
        flat = values.reshape(len(values), -1)
        return (self._averaging() @ flat).reshape(self.n_residues, *values.shape[1:]).astype(values.dtype)

    def per_residue_pair(self, values: np.ndarray) -> np.ndarray:
        """Means over each pair of residues' tokens of values (token, token): (residue, residue) of the same dtype."""
        return self.per_residue(self.per_residue(values).T).T

    def _averaging(self) -> csr_array:
        """(residue, token) weights; nearly always one token of weight 1, for which sums are exact."""
        tokens = np.flatnonzero(self.residue >= 0)
        rows = self.residue[tokens]
        share = 1.0 / np.bincount(rows, minlength=self.n_residues)[rows]
        return csr_array((share, (rows, tokens)), shape=(self.n_residues, len(self)))


def residue_tokens(model: AtomicModel) -> Tokens:
    """Tokens of a prediction that has one for each residue of a protein and no others (AlphaFold 2)."""
    chains = tuple(dict.fromkeys(model.chain_id.tolist()))
    chain = np.array([chains.index(name) for name in model.chain_id.tolist()], dtype=np.int64)
    return Tokens(chains, chain, np.arange(model.n_residues), model.n_residues)


def boltz_tokens(path: Path, model: AtomicModel, n_tokens: int) -> Tokens:
    """Tokens of a Boltz structure file: one for each residue of a polymer and one for each heavy atom of a ligand.

    Boltz-1 has one for each atom of a modified residue as well: `n_tokens`, the length of the confidence arrays, tells
    which it was. Raises StructureError with both numbers if it is neither, or if a residue of the model has no token.
    """
    structure = open_structure(path)
    rows = {
        key: row for row, key in enumerate(zip(model.chain_id.tolist(), model.residue_number.tolist(), strict=True))
    }
    counts = []
    for by_atom in (False, True):
        chains, chain, residue = [], [], []
        for each in structure[0]:
            chains.append(each.name)
            for part in each:
                ligand = part.het_flag == "H"
                modified = part.name not in RESIDUE_TYPES and part.name not in NUCLEOTIDES
                tokens = len(part) if ligand or (by_atom and modified) else 1
                chain += [len(chains) - 1] * tokens
                residue += [-1 if ligand else rows.get((each.name, part.seqid.num), -1)] * tokens
        counts.append(len(chain))
        if len(chain) == n_tokens:
            break
    else:
        raise StructureError(
            f"{path}: its residues and ligand atoms make {counts[0]} tokens, its confidence has {n_tokens}; "
            "the files are of different runs, take all of them from one"
        )
    found = np.array(residue, dtype=np.int64)
    lost = np.setdiff1d(np.arange(model.n_residues), found)
    if len(lost):
        raise StructureError(
            f"{path}: chain {model.chain_id[lost[0]]}: residue {model.residue_number[lost[0]]} is marked as a ligand"
        )
    return Tokens(tuple(chains), np.array(chain, dtype=np.int64), found, model.n_residues)
