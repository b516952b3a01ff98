"""What is told of a residue beside its name: what may replace it, and the shape of the reference around it.

Learned embeddings know the residue types at the places where training saw them. Rows of BLOSUM62 are alike for residues
that replace one another in relatives; the geometry says helix, loop or hinge in any family.
"""

import numpy as np
import torch
from biotite.sequence.align import SubstitutionMatrix
from scipy.spatial import cKDTree

from cryofound.models.molecule import GEOMETRY_FEATURES
from cryofound.physics.dihedrals import dihedral
from cryofound.physics.geometry import bonded_to_next
from cryofound.structure.atomic_model import ONE_LETTER, AtomicModel

BURIAL_REACH = 10.0  # angstrom between CA atoms
# Middle and spread of each feature over helices, strands and loops: CA 2, 3 and 4 residues apart are 5.5, 5.1 and 6.2 A
# from one another in an alpha helix, 6.7, 10 and 13 A in a strand; 20 residues are within reach halfway to the core.
CA_SPANS = ((2, 6.0, 0.7), (3, 7.5, 2.5), (4, 9.5, 3.5))
BURIAL = (20.0, 8.0)
CONFIDENCE = (0.8, 0.2)


def blosum62(residue_type: np.ndarray) -> np.ndarray:
    """(residue, 20) float32: scores of replacing each residue by the 20 amino acids, in order of RESIDUE_TYPES.

    In units of 4 half-bits, the self-score of alanine. BLOSUM62: Henikoff & Henikoff (1992), PNAS 89, 10915.
    """
    matrix = SubstitutionMatrix.std_protein_matrix()
    table = [[matrix.get_score(row, column) for column in ONE_LETTER[:-1]] for row in ONE_LETTER]
    return np.array(table, dtype=np.float32)[residue_type] / 4


def residue_geometry(model: AtomicModel, confidence: np.ndarray | None = None) -> np.ndarray:
    """(residue, GEOMETRY_FEATURES) float32: the reference around each residue, the same however it is turned or moved.

    Columns: sine and cosine of phi, of psi, and of the dihedral of the CA atoms from i - 1 to i + 2; distances of CA
    atoms 2, 3 and 4 residues apart with i in their middle (rounded down); number of CA atoms within BURIAL_REACH;
    confidence (residue,), pLDDT from 0 to 1 of a predicted reference; 1 where there is one. Distances, number and
    confidence are less their middle, over their spread. What a chain's end or gap leaves undefined is zero.
    """
    count = model.n_residues
    features = np.zeros((count, GEOMETRY_FEATURES), dtype=np.float32)
    bonded = bonded_to_next(model)
    nitrogen, alpha, carbon, _ = model.backbone_index().T
    torsions = (
        (1, (carbon[:-1], nitrogen[1:], alpha[1:], carbon[1:])),
        (0, (nitrogen[:-1], alpha[:-1], carbon[:-1], nitrogen[1:])),
        (1, (alpha[:-3], alpha[1:-2], alpha[2:-1], alpha[3:])),
    )
    for column, (offset, atoms) in enumerate(torsions):
        rows = np.flatnonzero(_unbroken(bonded, count - len(atoms[0])))
        index = torch.from_numpy(np.stack(atoms, axis=1)[rows])
        angle = dihedral(torch.from_numpy(model.positions_xyz)[None], index)[0].numpy()
        features[rows + offset, 2 * column : 2 * column + 2] = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    ca = model.ca_xyz()
    for column, (span, middle, spread) in enumerate(CA_SPANS, start=6):
        rows = np.flatnonzero(_unbroken(bonded, span))
        distance = np.linalg.norm(ca[rows + span] - ca[rows], axis=1)
        features[rows + span // 2, column] = (distance - middle) / spread
    near = cKDTree(ca).query_ball_point(ca, BURIAL_REACH, p=2.0, return_length=True) - 1
    features[:, 9] = (near - BURIAL[0]) / BURIAL[1]
    if confidence is not None:
        features[:, 10] = (confidence - CONFIDENCE[0]) / CONFIDENCE[1]
        features[:, 11] = 1
    return features


def _unbroken(bonded: np.ndarray, span: int) -> np.ndarray:
    """(residue - span,) bool: each residue and the `span` after it are bonded in a row; bonded (residue - 1,)."""
    if len(bonded) < span:
        return np.zeros(0, dtype=bool)
    return np.lib.stride_tricks.sliding_window_view(bonded, span).all(axis=1)
