"""Which chains of a reference are copies of which sequence."""

from collections.abc import Mapping, Sequence

from cryofound.catalog.entry import ChainGroup
from cryofound.errors import StructureError
from cryofound.structure.alignment import align_sequences, sequence_mismatch, sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.symmetry import group_order

ALIKE = 0.5


def chain_groups(
    chains: Mapping[str, AtomicModel], sequences: Mapping[str, str], reference: str
) -> tuple[ChainGroup, ...]:
    """The groups of an entry: for each sequence the chains of the reference that match it, in the reference's order.

    `chains` are the reference's by name; `sequences` one-letter by name, without which each group holds the chains that
    are equal in the reference, and states no sequence. `reference` is what errors call it. Raises StructureError, one
    line, for a chain that matches no sequence (with the first residue that differs from the most similar one) and for a
    sequence that no chain has.
    """
    if not sequences:
        return _equal_chains(chains)
    members: dict[str, list[str]] = {name: [] for name in sequences}
    for chain, model in chains.items():
        fitting = [name for name, sequence in sequences.items() if sequence_mismatch(sequence, model) is None]
        if not fitting:
            raise StructureError(f"{reference}: chain {chain} {_closest(model, sequences)}")
        # A short chain may occur in several sequences: it is the one that it leaves least of.
        members[min(fitting, key=lambda name: len(sequences[name]))].append(chain)
    lost = [name for name, found in members.items() if not found]
    if lost:
        raise StructureError(
            f"{reference}: no chain has the sequence {lost[0]} (chains {', '.join(chains)} have others); "
            "leave it out of the sequences, or give a reference of the whole complex"
        )
    return tuple(
        ChainGroup(names=tuple(found), description=name, sequence=sequences[name]) for name, found in members.items()
    )


def symmetry_doubts(symmetry: str, groups: Sequence[ChainGroup]) -> tuple[str, ...]:
    """One sentence for each group whose copies cannot have the point group."""
    order = group_order(symmetry)
    return tuple(
        f"{len(group.names)} copies of {group.description or 'chain ' + group.names[0]} are not a multiple of the "
        f"{order} that {symmetry} asks for; is the reference the whole complex?"
        for group in groups
        if len(group.names) % order
    )


def _equal_chains(chains: Mapping[str, AtomicModel]) -> tuple[ChainGroup, ...]:
    groups: dict[str, list[str]] = {}
    for chain, model in chains.items():
        groups.setdefault(sequence_of(model), []).append(chain)
    return tuple(ChainGroup(names=tuple(names)) for names in groups.values())


def _closest(model: AtomicModel, sequences: Mapping[str, str]) -> str:
    own = sequence_of(model)

    def identity(name: str) -> float:
        pairs = align_sequences(own, sequences[name])
        return sum(own[row] == sequences[name][other] for row, other in pairs) / len(own)

    best = max(sequences, key=identity)
    if identity(best) < ALIKE:
        return f"({len(own)} residues) is like none of the sequences {', '.join(sequences)}; add its sequence"
    told = sequence_mismatch(sequences[best], model)
    return f"does not match the sequence {best}: {told}; correct the sequence or the reference"
