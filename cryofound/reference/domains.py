"""Rigid domains: groups of residues whose places the predictor knows relative to one another."""

from itertools import groupby

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

CUTOFF = 6.0
MIN_RESIDUES = 20
NO_DOMAIN = -1


def rigid_domains(pae: np.ndarray, cutoff: float = CUTOFF, min_residues: int = MIN_RESIDUES) -> np.ndarray:
    """(residue,) int16: the domain of each residue, from 0 in the order of their first residues, or NO_DOMAIN.

    pae (residue, residue) is the predicted aligned error in angstrom, taken as the mean of both directions. The
    residues are the nodes of a complete graph with the error as edge length, which is clustered by average linkage
    (UPGMA, Sokal and Michener 1958): the nearest groups are joined while the mean error between them is below
    `cutoff`. There is no chance in it. Groups of fewer than `min_residues` are linkers and tails.
    """
    errors = 0.5 * (pae + pae.T).astype(np.float64)
    if len(errors) < 2:
        return np.full(len(errors), NO_DOMAIN, dtype=np.int16)
    np.fill_diagonal(errors, 0.0)
    group = fcluster(linkage(squareform(errors, checks=False), "average"), cutoff, "distance")
    domain = np.full(len(group), NO_DOMAIN, dtype=np.int16)
    large = [each for each in dict.fromkeys(group.tolist()) if (group == each).sum() >= min_residues]
    for number, each in enumerate(large):
        domain[group == each] = number
    return domain


def domain_ranges(domain: np.ndarray, chain_id: np.ndarray, residue_number: np.ndarray) -> list[str]:
    """Each domain as text, such as `A 7-74, B 1-20`; the arrays are (residue,)."""
    told = []
    for number in range(int(domain.max(initial=NO_DOMAIN)) + 1):
        rows = np.flatnonzero(domain == number)
        stretches = [
            [row for _, row in stretch]
            for _, stretch in groupby(enumerate(rows), key=lambda pair: (pair[1] - pair[0], chain_id[pair[1]]))
        ]
        told.append(
            ", ".join(f"{chain_id[rows[0]]} {residue_number[rows[0]]}-{residue_number[rows[-1]]}" for rows in stretches)
        )
    return told
