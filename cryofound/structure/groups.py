"""Groups of residues at several scales, from halves of a protein to pieces of a helix: what may move as one body."""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import diags
from scipy.spatial import cKDTree

SMOOTHING = 6.0  # angstrom; over twice this the share of a residue passes from one group to the next


def group_shares(ca_xyz: np.ndarray, levels: Sequence[int], smoothing: float = SMOOTHING) -> np.ndarray:
    """(residue, sum of `levels`) float32: how far each residue belongs to each group, group by group of each level.

    ca_xyz (residue, 3) angstrom. Level by level the residues are cut into that many groups by average linkage of their
    distances (UPGMA, Sokal and Michener 1958), so that each level's groups lie within those of the level before; shares
    are smoothed twice over neighbours with a Gaussian of `smoothing` angstrom and sum to one in every level. Where
    there are fewer residues than groups, groups are empty. Memory grows with the square of the residues.
    """
    count = len(ca_xyz)
    if not levels:
        return np.zeros((count, 0), dtype=np.float32)
    if count < 2:
        return np.concatenate([np.eye(1, level, dtype=np.float32).repeat(count, 0) for level in levels], axis=1)
    joined = linkage(ca_xyz.astype(np.float64), "average")
    tree = cKDTree(ca_xyz)
    near = tree.sparse_distance_matrix(tree, 3 * smoothing, output_type="coo_matrix")
    near.data = np.exp(-((near.data / smoothing) ** 2))
    kernel = near.tocsr()
    kernel.setdiag(1.0)
    kernel = diags(1 / np.asarray(kernel.sum(1)).ravel()) @ kernel
    members = [np.eye(level)[fcluster(joined, level, "maxclust") - 1] for level in levels]
    return (kernel @ (kernel @ np.concatenate(members, axis=1))).astype(np.float32)
