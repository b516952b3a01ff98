"""The atomic models that an entry speaks of."""

from pathlib import Path

from cryofound.catalog.entry import (
    CatalogEntry,
    MapState,
    NormalModeState,
    StateEntry,
    StructureChoice,
    StructureState,
    TrajectoryState,
)
from cryofound.catalog.sources import fetch_file
from cryofound.errors import StructureError
from cryofound.structure.alignment import sequence_mismatch
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.normal_modes import mode_states
from cryofound.structure.reading import read_model, read_trajectory_frame


def load_reference(entry: CatalogEntry, cache: Path) -> AtomicModel:
    """The reference's one chain as it lies in its file.

    Raises StructureError if it contradicts the entry's sequence, or if the entry is a complex and names no chain of it.
    """
    names = [name for group in entry.chains for name in group.names]
    if len(names) > 1 and entry.reference.chain is None:
        raise StructureError(
            f"{entry.system_id} is a complex of the chains {', '.join(names)} and a single one was asked for; "
            "name it in the entry's reference"
        )
    model = _chosen_model(entry, entry.reference, cache)
    stated = entry.stated_sequence(str(model.chain_id[0]))
    if stated is not None:
        wrong = sequence_mismatch(stated, model)
        if wrong:
            path = source_file(entry, entry.reference.source, entry.reference.file, cache)
            raise StructureError(
                f"{path}: sequence of {entry.system_id} does not match: {wrong}; "
                "correct the entry's sequence or its reference"
            )
    return model


def load_state(entry: CatalogEntry, state: StateEntry, reference: AtomicModel, cache: Path) -> AtomicModel | None:
    """True atoms of a state in the frame of their file (of `reference` for a normal mode); None for a map."""
    match state:
        case StructureState():
            return _chosen_model(entry, state, cache)
        case TrajectoryState():
            return read_trajectory_frame(
                source_file(entry, state.source, state.file, cache),
                source_file(entry, state.source, state.topology, cache),
                state.frame,
                state.chain,
                state.residues,
            )
        case NormalModeState():
            forwards, backwards = mode_states(reference, state.mode, state.rmsd)
            return reference.moved(forwards if state.sign > 0 else backwards)
        case MapState():
            return None


def source_file(entry: CatalogEntry, source: str, file: str | None, cache: Path) -> Path:
    """Where a file of an entry's source lies on this machine, downloaded if need be.

    Raises SourceError with one line if the source does not hold it.
    """
    return fetch_file(entry.sources[source], file, cache, named=f"source {source} of {entry.system_id}")


def _chosen_model(entry: CatalogEntry, choice: StructureChoice | StructureState, cache: Path) -> AtomicModel:
    path = source_file(entry, choice.source, choice.file, cache)
    return read_model(path, choice.chain, choice.model, choice.residues)
