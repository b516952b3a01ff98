"""How large the systems of a recipe are: from its store, else from what its entries and the files at hand tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cryofound.catalog.entry import CatalogEntry, StructureChoice
from cryofound.catalog.loading import load_reference
from cryofound.catalog.sources import found_file, mirror_index
from cryofound.config import GridConfig
from cryofound.ensemble.checking import stores_in
from cryofound.ensemble.store import open_system, read_outline, system_folder
from cryofound.errors import CryoFoundError
from cryofound.manifest import is_finished, read_manifest
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.stand_in import stand_in

KnownFrom = Literal["store", "reference", "sequence", "range", "assumed"]
KNOWN_FROM: tuple[KnownFrom, ...] = get_args(KnownFrom)
ATOMS_PER_RESIDUE = 7.8  # heavy atoms, mean over the amino acids of proteins
AVERAGE = "LAGVESIKRDTPNQFYMHCW"  # every amino acid once, for sequences that are not known
MARGIN = 10.0  # angstrom around a reference, for its states and the reach of its atoms


@dataclass(frozen=True)
class SystemSize:
    """One system; maps: states that training may see; states: all; reference: its atoms, where they could be read."""

    system_id: str
    family: str
    train: bool
    maps: int
    states: int
    residues: int
    atoms: int
    box_size: int
    resolution: float
    known_from: KnownFrom
    reference: AtomicModel | None
    sequence: str

    def model(self) -> AtomicModel:
        """Its reference, or a protein of as many residues."""
        return self.reference or stand_in(self.sequence)


def find_store(home: Path, entries: Sequence[CatalogEntry], grid: GridConfig) -> Path | None:
    """The newest finished store of a home that has these very systems on this grid, None if there is none."""
    wanted = sorted(entry.system_id for entry in entries)
    found = []
    for store in filter(is_finished, stores_in(home)):
        told = read_manifest(store, check=False)
        boxes = np.atleast_1d(told["grid"]["box_size"]).tolist()
        if sorted(told["systems"]) == wanted and sorted(boxes) == list(grid.box_sizes):
            found.append(store)
    return max(found, key=lambda store: store.stat().st_mtime, default=None)


def stored_sizes(store: Path) -> list[SystemSize]:
    """The systems of a finished store."""
    sizes = []
    for name in read_manifest(store, check=False)["systems"]:
        system = read_outline(open_system(system_folder(store, name)))
        seen = [state for state in system.states if state.split == "train"]
        sizes.append(
            SystemSize(
                system_id=name,
                family=system.family,
                train=system.split == "train",
                maps=len(seen) if system.split == "train" else 0,
                states=len(system.states),
                residues=system.reference.n_residues,
                atoms=system.reference.n_atoms,
                box_size=system.grid.shape_zyx[0],
                resolution=float(np.median([state.resolution for state in system.states])),
                known_from="store",
                reference=system.reference,
                sequence="",
            )
        )
    return sizes


def entry_sizes(entries: Sequence[CatalogEntry], grid: GridConfig, cache: Path, assumed: int) -> list[SystemSize]:
    """The systems of entries; nothing is downloaded.

    Atoms come from the reference's file where it is on this machine, else from the stated sequences, else from the
    range of residues, else there are `assumed` residues.
    """
    mirror = mirror_index()
    return [_of_entry(entry, grid, cache, assumed, mirror) for entry in entries]


def _of_entry(
    entry: CatalogEntry, grid: GridConfig, cache: Path, assumed: int, mirror: dict[str, Path] | None
) -> SystemSize:
    reference = _reference(entry, cache, mirror)
    known_from: KnownFrom
    if reference is not None:
        known_from, sequence = "reference", ""
        residues, atoms = reference.n_residues, reference.n_atoms
    else:
        known_from, sequence = _sequence(entry, assumed)
        residues, atoms = len(sequence), round(ATOMS_PER_RESIDUE * len(sequence))
    seen = [state for state in entry.states if state.split == "train"]
    resolutions = [getattr(state, "resolution", None) or entry.simulation.resolution for state in entry.states]
    return SystemSize(
        system_id=entry.system_id,
        family=entry.family,
        train=entry.split == "train",
        maps=len(seen) if entry.split == "train" else 0,
        states=len(entry.states),
        residues=residues,
        atoms=atoms,
        box_size=_box_size(reference or stand_in(sequence), grid),
        resolution=float(np.median(resolutions)),
        known_from=known_from,
        reference=reference,
        sequence=sequence,
    )


def _reference(entry: CatalogEntry, cache: Path, mirror: dict[str, Path] | None) -> AtomicModel | None:
    """The reference about the origin if its file is on this machine."""
    place: StructureChoice = entry.reference
    try:
        if found_file(entry.sources[place.source], place.file, cache, mirror) is None:
            return None
        model = load_reference(entry, cache)
    except CryoFoundError:
        return None  # a file that cannot be used is ingest's to tell; a plan goes on with the sequence
    middle = 0.5 * (model.positions_xyz.min(0) + model.positions_xyz.max(0))
    return model.moved(model.positions_xyz - middle)


def _sequence(entry: CatalogEntry, assumed: int) -> tuple[KnownFrom, str]:
    """How it is known, and one letter for every residue of the reference."""
    groups = [group.sequence * len(group.names) for group in entry.chains if group.sequence]
    if entry.sequence or (groups and entry.reference.chain is None):
        return "sequence", entry.sequence or "".join(groups)
    if entry.reference.residues and entry.reference.chain:
        first, last = entry.reference.residues
        return "range", _average(last - first + 1)
    return "assumed", _average(assumed)


def _average(residues: int) -> str:
    return (AVERAGE * (residues // len(AVERAGE) + 1))[:residues]


def _box_size(reference: AtomicModel, grid: GridConfig) -> int:
    """The smallest of the recipe's boxes around a reference and its margin, the largest if none is."""
    needed = (np.ptp(reference.positions_xyz, axis=0).max() + 2 * MARGIN) / grid.voxel_size
    return next((size for size in grid.box_sizes if size >= needed), grid.box_sizes[-1])
