"""The atomic models that an entry speaks of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cryofound.catalog.entry import (
    CatalogEntry,
    ChainGroup,
    MapState,
    NormalModeState,
    StateEntry,
    StructureChoice,
    StructureState,
    TrajectoryState,
)
from cryofound.catalog.sources import fetch_file
from cryofound.catalog.stoichiometry import symmetry_doubts
from cryofound.errors import StructureError
from cryofound.structure.alignment import scored_alignment, sequence_mismatch, sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import chain_rows, chains_of, joined, residues_of
from cryofound.structure.matching import copies, match_chains, related
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import (
    ResidueRange,
    protein_sequences,
    read_complex,
    read_model,
    read_trajectory_frame,
)


def load_reference(entry: CatalogEntry, cache: Path) -> AtomicModel:
    """The reference as it lies in its file: the one chain, or all chains that a complex's groups name, in their order.

    Raises StructureError, one line, for a chain that is not there or contradicts its group's sequence, and for a
    stoichiometry that is not the file's or not the symmetry's.
    """
    path = source_file(entry, entry.reference.source, entry.reference.file, cache)
    whole = _complex(entry, path) if _is_complex(entry) else _single(entry, path)
    return _without(whole, entry.reference.without)


def load_state(entry: CatalogEntry, state: StateEntry, reference: AtomicModel, cache: Path) -> AtomicModel | None:
    """True atoms of a state in the frame of their file (of `reference` for a normal mode); None for a map."""
    match state:
        case StructureState():
            return load_structure(entry, state, reference, cache)
        case TrajectoryState():
            topology = source_file(entry, state.source, state.topology, cache)
            chain = state.chain
            if _is_complex(entry) and chain is None:
                chain = list(chain_rows(_counterpart(topology, 0, state.residues, reference)))
            trajectory = source_file(entry, state.source, state.file, cache)
            return read_trajectory_frame(trajectory, topology, state.frame, chain, state.residues)
        case NormalModeState():
            forwards, backwards = mode_states(reference, state.mode, state.rmsd)
            return reference.moved(forwards if state.sign > 0 else backwards)
        case MapState():
            return None


def load_structure(
    entry: CatalogEntry, choice: StructureChoice | StructureState, reference: AtomicModel, cache: Path
) -> AtomicModel:
    """Another structure of the entry's molecule, in the frame of its file: a state, or the model fitted into a map.

    Unless the choice names a chain: of a complex those chains that match the reference's (under whatever names), in the
    reference's order, else the chain that is most like the reference. Raises StructureError if one has no match.
    """
    path = source_file(entry, choice.source, choice.file, cache)
    if _is_complex(entry) and choice.chain is None:
        whole = _counterpart(path, choice.model, choice.residues, reference)
    else:
        chain = choice.chain or _most_like(protein_sequences(path, choice.model), reference)
        whole = read_model(path, chain, choice.model, choice.residues)
    return _without(whole, choice.without)


def source_file(entry: CatalogEntry, source: str, file: str | None, cache: Path) -> Path:
    """Where a file of an entry's source lies on this machine, downloaded if need be.

    Raises SourceError with one line if the source does not hold it.
    """
    return fetch_file(entry.sources[source], file, cache, named=f"source {source} of {entry.system_id}")


def _is_complex(entry: CatalogEntry) -> bool:
    return entry.reference.chain is None and sum(len(group.names) for group in entry.chains) > 1


def _single(entry: CatalogEntry, path: Path) -> AtomicModel:
    """The chain that the reference or else the only group names, or the longest of the file."""
    choice, names = entry.reference, [name for group in entry.chains for name in group.names]
    chain = choice.chain or next(iter(names), None)
    group = next((group for group in entry.chains if chain in group.names), None)
    residues = _common_range(choice.residues, group.residues if group else None)
    model = read_model(path, chain, choice.model, residues)
    stated = entry.stated_sequence(str(model.chain_id[0]))
    wrong = None if stated is None else sequence_mismatch(stated, model)
    if wrong:
        raise StructureError(
            f"{path}: sequence of {entry.system_id} does not match: {wrong}; "
            "correct the entry's sequence or its reference"
        )
    return model


def _complex(entry: CatalogEntry, path: Path) -> AtomicModel:
    choice, groups = entry.reference, {name: group for group in entry.chains for name in group.names}
    ranges = {name: _common_range(choice.residues, group.residues) for name, group in groups.items()}
    model = read_complex(path, list(groups), choice.model, {name: each for name, each in ranges.items() if each})
    _check_sequences(entry, groups, chains_of(model), path)
    _check_stoichiometry(entry, protein_sequences(path, choice.model), path)
    return model


def _counterpart(path: Path, model: int, residues: ResidueRange | None, reference: AtomicModel) -> AtomicModel:
    """The chains of a file that match the reference's, in the reference's order."""
    wanted = set(map(sequence_of, chains_of(reference).values()))
    sequences = protein_sequences(path, model)
    like = [name for name, sequence in sequences.items() if any(related(sequence, other) for other in wanted)]
    whole = None
    partner: dict[str, str] = {}
    if like:
        whole = read_complex(path, like, model, {} if residues is None else dict.fromkeys(like, residues))
        partner = {match.first: match.second for match in match_chains(reference, whole)}
    lost = [name for name in chain_rows(reference) if name not in partner]
    if whole is None or lost:
        raise StructureError(
            f"{path}: none of its chains ({', '.join(sequences) or 'none'}) is left to match chain {lost[0]} of the "
            "reference; give a structure of the whole complex"
        )
    rows = chain_rows(whole)
    return joined([residues_of(whole, rows[partner[name]]) for name in chain_rows(reference)])


def _most_like(sequences: Mapping[str, str], reference: AtomicModel) -> str | None:
    """The chain whose sequence aligns best with the reference's, of equals the longest; None where there is none."""
    wanted = sequence_of(reference)
    scores = {name: (scored_alignment(wanted, each)[1], len(each)) for name, each in sequences.items()}
    return max(scores, key=lambda name: scores[name], default=None)


def _without(model: AtomicModel, stretches: Sequence[tuple[int, int]]) -> AtomicModel:
    """The model but for residues whose author numbers lie in a stretch (first, last)."""
    numbers = model.residue_number
    left_out = [(first <= numbers) & (numbers <= last) for first, last in stretches]
    return residues_of(model, np.flatnonzero(~np.any(left_out, axis=0))) if left_out else model


def _check_sequences(
    entry: CatalogEntry, groups: Mapping[str, ChainGroup], chains: Mapping[str, AtomicModel], path: Path
) -> None:
    for name, group in groups.items():
        wrong = None if group.sequence is None else sequence_mismatch(group.sequence, chains[name])
        if wrong is None:
            continue
        others = [
            each
            for each in entry.chains
            if each is not group and each.sequence and sequence_mismatch(each.sequence, chains[name]) is None
        ]
        if others:
            told, remedy = f"it has the sequence of {_called(others[0])}, not of {_called(group)}", "exchange them"
        else:
            told, remedy = wrong, "correct the entry's chains or its reference"
        raise StructureError(f"{path}: chain {name} of {entry.system_id} does not match its sequence: {told}; {remedy}")


def _check_stoichiometry(entry: CatalogEntry, sequences: Mapping[str, str], path: Path) -> None:
    """Raise StructureError unless the file holds as many of every named protein as the entry, or a multiple of that."""
    doubts = symmetry_doubts(entry.symmetry, entry.chains)
    if doubts:
        raise StructureError(f"{path}: {doubts[0]} Correct the chains or the symmetry of {entry.system_id}")
    named = {name for group in entry.chains for name in group.names}
    kinds = dict(zip(sequences, copies(list(sequences.values())), strict=True))
    members = [[name for name, kind in kinds.items() if kind == each] for each in dict.fromkeys(kinds.values())]
    shares = [(len(found), len(named & set(found)), found) for found in members if named & set(found)]
    times = min(there / asked for there, asked, _ in shares)
    for there, asked, found in shares:
        if there != asked * int(times):
            raise StructureError(
                f"{path}: chains {', '.join(found)} are {there} copies of one protein, {entry.system_id} names {asked} "
                f"({', '.join(name for name in found if name in named)}); name all chains of the complex"
            )


def _called(group: ChainGroup) -> str:
    return group.description or f"chain {group.names[0]}"


def _common_range(first: ResidueRange | None, second: ResidueRange | None) -> ResidueRange | None:
    """What lies in both ranges of residues."""
    if first is None or second is None:
        return first or second
    starts = [each for each, _ in (first, second) if each is not None]
    ends = [each for _, each in (first, second) if each is not None]
    return max(starts, default=None), min(ends, default=None)
