"""A protein that no map is known of: the trained family it belongs to, and its system in that family's frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from biotite.sequence import ProteinSequence
from biotite.sequence.align import EValueEstimator, SubstitutionMatrix
from biotite.sequence.align.pairwise import align_optimal

from cryofound.config import Recipe
from cryofound.ensemble.system import System
from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import Grid
from cryofound.reference.canonical import CHAIN_GAP, FamilyFrame, check_inside, is_inside, place_reference
from cryofound.sampling.members import Member
from cryofound.structure.alignment import sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of
from cryofound.structure.matching import match_chains
from cryofound.structure.symmetrising import symmetric
from cryofound.structure.symmetry import find_symmetry

# BLOSUM62, a gap of k residues costs 11 + k: the values of NCBI's BLAST (Altschul and Gish 1996).
LOCAL_GAP_PENALTY = (-12, -1)
GUMBEL_LAMBDA, GUMBEL_K = 0.267, 0.041
# The custom of sequence searches: by chance one search in a thousand finds such a score. Among the seven families of
# the benchmark the worst relatives have 8e-7, the best of two families 0.1.
MOST_EXPECTED = 1e-3


@dataclass(frozen=True)
class Relation:
    """How a reference is related to the training systems: to the nearest of them.

    family, member: of the training system with which the reference shares most identical residues. identity: their
    share among the residues aligned with it; coverage: share of the reference's residues that are; e_value: relatives
    as like as the most alike of all that chance would find among the training systems. chains: (the member's, the
    reference's) names of chains that correspond. outside: whether no family is related, so that only force samples it.
    """

    family: str
    member: str
    identity: float
    coverage: float
    e_value: float
    chains: tuple[tuple[str, str], ...]

    @property
    def outside(self) -> bool:
        return self.e_value > MOST_EXPECTED

    def refusal(self) -> str:
        """One sentence for a protein outside every family: how it was found out, and what would be needed."""
        return (
            f"no trained family is related to this protein (nearest: {self.member} of {self.family}, E-value "
            f"{self.e_value:.2g}, at most {MOST_EXPECTED:g} is asked); train with a map series of this protein, or of "
            "a relative with which it shares 30 % of its residues or more"
        )


def find_family(reference: AtomicModel, members: Sequence[Member]) -> Relation:
    """Search the training systems for the relatives of a reference of one or several chains.

    Local alignment (Smith and Waterman) of every chain with every chain; the expected number of chance hits (Karlin and
    Altschul 1990) takes all training sequences for the database. Chains that are related to none count as not covered.
    """
    queries = [sequence_of(chain) for chain in chains_of(reference).values()]
    theirs = [
        list(dict.fromkeys(sequence_of(chain) for chain in chains_of(member.outline.reference).values()))
        for member in members
    ]
    database = sum(len(sequence) for sequences in theirs for sequence in sequences)
    found = [_search(queries, sequences, database) for sequences in theirs]
    order = {
        number: (likeness.e_value <= MOST_EXPECTED, likeness.identical, likeness.score, members[number].anchor)
        for number, likeness in enumerate(found)
    }
    nearest = max(order, key=lambda number: (*order[number], -number))
    outline, likeness = members[nearest].outline, found[nearest]
    return Relation(
        family=outline.family,
        member=outline.system_id,
        identity=likeness.identical / max(likeness.aligned, 1),
        coverage=likeness.aligned / reference.n_residues,
        e_value=likeness.e_value,
        chains=tuple((match.first, match.second) for match in match_chains(outline.reference, reference)),
    )


def newcomer(
    reference: AtomicModel,
    members: Sequence[Member],
    relation: Relation,
    recipe: Recipe,
    *,
    name: str = "newcomer",
    confidence: np.ndarray | None = None,
    embedding: np.ndarray | None = None,
    symmetry: Literal["kept", "released"] = "kept",
) -> System:
    """The system of a reference without maps: in the family's frame, without states, on the recipe's smallest grid.

    confidence (residue,) and embedding (residue, width) float32 are its predictor's. With symmetry `kept` its copies
    move alike by the point group of the nearest training system, which the reference then has exactly (`symmetric`);
    of one that is `outside` they are free, it stays in the frame of its file with its centre in the origin, and numbers
    beyond the family's last tell that no residue of it has a counterpart.

    Raises StructureError if it shares too little with the family's core or lacks the point group, MapError if it is too
    large for the recipe's grids.
    """
    member = next(each for each in members if each.outline.system_id == relation.member)
    anchor = next((each for each in members if each.anchor and each.outline.family == relation.family), None)
    if anchor is None:
        raise StructureError(f"family {relation.family}: its anchor was not trained on; train again with it")
    if relation.outside:
        centred = reference.positions_xyz - reference.positions_xyz.mean(0, dtype=np.float64)
        last = max(each.outline.family_position.max() for each in members if each.outline.family == relation.family)
        placed = reference.moved(centred)
        position = (last + CHAIN_GAP + np.arange(reference.n_residues)).astype(np.float32)
    else:
        placement = place_reference(reference, FamilyFrame(anchor.outline.reference, anchor.core))
        placed, position = placement.reference, placement.family_position
    group = member.outline.symmetry if symmetry == "kept" and not relation.outside else "C1"
    if group != "C1":
        placed = _tied(placed, group, member)
    return System(
        system_id=name,
        family=relation.family,
        split="held_out",
        reference=placed,
        family_position=position,
        states=(),
        truth_xyz=np.zeros((0, reference.n_atoms, 3), dtype=np.float32),
        truth_mask=np.zeros((0, reference.n_atoms), dtype=bool),
        grid=_grid(placed, recipe),
        confidence=confidence,
        embedding=embedding,
        symmetry=group,
    )


def _tied(placed: AtomicModel, group: str, member: Member) -> AtomicModel:
    """A reference that has the point group of its nearest relative exactly."""
    own, theirs = len(chain_rows(placed)), len(chain_rows(member.outline.reference))
    if own != theirs:
        raise StructureError(
            f"reference: {own} chains, {member.outline.system_id} has {theirs} with the symmetry {group}; give a "
            f"reference of {theirs} chains, or release the symmetry (--symmetry released)"
        )
    try:
        return symmetric(placed, find_symmetry(placed, group))
    except StructureError as error:
        raise StructureError(f"reference: {error} (--symmetry released)") from None


def _grid(placed: AtomicModel, recipe: Recipe) -> Grid:
    """The smallest grid of a recipe that holds a reference."""
    grids = [Grid.centred(size, recipe.grid.voxel_size) for size in recipe.grid.box_sizes]
    grid = next((each for each in grids if is_inside(placed.positions_xyz, each)), grids[-1])
    try:
        check_inside(placed.positions_xyz, grid, "reference")
    except MapError as error:
        raise MapError(f"{error} and train again, or leave out of the reference what its relatives lack") from None
    return grid


@dataclass(frozen=True)
class _Likeness:
    """Local alignments of chains with a system: residues and score summed, the least E-value of all."""

    identical: int
    aligned: int
    score: int
    e_value: float


def _search(queries: Sequence[str], sequences: Sequence[str], database: int) -> _Likeness:
    """The likeness of chains with the most alike of a system's, over those related to it, or the most alike of all."""
    best = {query: max((_align(query, other, database) for other in sequences), key=_score) for query in queries}
    related = [best[query] for query in queries if best[query].e_value <= MOST_EXPECTED]
    counted = related or [min(best.values(), key=lambda each: each.e_value)]
    return _Likeness(
        identical=sum(each.identical for each in counted),
        aligned=sum(each.aligned for each in counted),
        score=sum(each.score for each in counted),
        e_value=min(each.e_value for each in counted),
    )


def _score(likeness: _Likeness) -> int:
    return likeness.score


@cache
def _align(query: str, other: str, database: int) -> _Likeness:
    """The best local alignment of two one-letter sequences; `database` residues are searched."""
    matrix = SubstitutionMatrix.std_protein_matrix()
    first, second = ProteinSequence(query), ProteinSequence(other)
    found = align_optimal(first, second, matrix, gap_penalty=LOCAL_GAP_PENALTY, local=True, max_number=1)
    # Without one pair that scores, chance finds as much everywhere.
    score, trace = (found[0].score, found[0].trace) if found else (0, np.zeros((0, 2), dtype=np.int64))
    pairs = trace[(trace >= 0).all(1)]
    identical = sum(query[row] == other[column] != "X" for row, column in pairs.tolist())
    log_e = EValueEstimator(GUMBEL_LAMBDA, GUMBEL_K).log_evalue(score, len(query), database)
    return _Likeness(identical, len(pairs), int(score), 10.0 ** float(log_e))
