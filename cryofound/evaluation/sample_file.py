"""An ensemble on disk: its conformations lie in a file and are read some at a time, so that memory does not grow."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryofound.errors import StructureError
from cryofound.evaluation.superposition import superposed
from cryofound.structure.alignment import matched_atoms, sequence_of
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import atoms_of, chain_rows
from cryofound.structure.matching import matched_residues, related
from cryofound.structure.symmetry import ChainCopies

CHUNK = 200_000  # atoms that are in memory at once
ATOM_BYTES = 12
ARRAYS = ("residue_index", "residue_type", "atom_name", "chain_id")


@dataclass(frozen=True)
class Samples:
    """Conformations of one model: `path` holds their positions (sample, atom, 3) float32, angstrom, `names` theirs.

    name: of the ensemble; model: its atoms.
    """

    name: str
    model: AtomicModel
    names: tuple[str, ...]
    path: Path

    def __len__(self) -> int:
        return len(self.names)

    def chunks(self) -> Iterator[np.ndarray]:
        """(some, atom, 3) float32: all samples, in their order."""
        step = max(1, CHUNK // self.model.n_atoms)
        for start in range(0, len(self), step):
            yield self.part(start, min(step, len(self) - start))

    def part(self, start: int, count: int) -> np.ndarray:
        """(count, atom, 3) float32: samples one after another."""
        size = ATOM_BYTES * self.model.n_atoms
        read = np.fromfile(self.path, np.float32, count * size // 4, offset=start * size)
        return read.reshape(count, self.model.n_atoms, 3)

    def spread(self, most: int) -> tuple[tuple[str, ...], np.ndarray]:
        """Names and positions (chosen, atom, 3) of all samples, or of as many as `most`, evenly spaced."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))
        return tuple(self.names[row] for row in chosen), np.concatenate([self.part(row, 1) for row in chosen.tolist()])


def gather(name: str, conformations: Iterable[tuple[str, AtomicModel]], path: Path) -> Samples:
    """Write conformations, each with its name, to `path`, one after another as they come.

    Raises StructureError if there are none, or if one has other atoms than the first.
    """
    first, names = None, []
    with path.open("wb") as stream:
        for own_name, model in conformations:
            first = first or model
            if (difference := _difference(first, model)) is not None:
                raise StructureError(f"{own_name}: {difference}, unlike {names[0]}; give samples of one protein")
            names.append(own_name)
            stream.write(np.ascontiguousarray(model.positions_xyz, dtype=np.float32).tobytes())
    if first is None:
        raise StructureError(f"{name}: no samples; give at least one conformation")
    return Samples(name, first, tuple(names), path)


def in_one_frame(ensembles: Sequence[Samples], reference: AtomicModel) -> list[Samples]:
    """The ensembles over the atoms that all of them and the reference have, so that all are compared alike.

    Residues are matched by sequence and atoms by name; what one copy of a chain lacks is left out of all. Each sample's
    copies are told as they lie best on the reference, and it is superposed on that by its CA. Written beside the files
    of the ensembles. Raises StructureError if an ensemble's sequence is another protein's.
    """
    found = [_matched(reference, each) for each in ensembles]
    told = np.all(ChainCopies(reference).orders() >= 0, axis=0)
    common = np.flatnonzero(told & np.all([rows >= 0 for rows in found], axis=0))
    fixed = atoms_of(reference, common)
    copies = ChainCopies(fixed)
    return [_moved(each, rows[common], fixed, copies) for each, rows in zip(ensembles, found, strict=True)]


def same_atoms(first: AtomicModel, second: AtomicModel, name: str) -> np.ndarray:
    """(pair, 2) atom rows of two models of one protein or of relatives: residues by sequence, atoms by name.

    Raises StructureError, `name` first, if the sequences are not related.
    """
    try:
        pairs = matched_residues(first, second)
    except StructureError as error:
        raise StructureError(f"{name}: {error}") from None
    one, other = sequence_of(first), sequence_of(second)
    # Of single chains an alignment always finds something; those of complexes are told apart by `match_chains`.
    if len(chain_rows(first)) == len(chain_rows(second)) == 1 and not related(one, other):
        raise StructureError(
            f"{name}: sequences of {len(one)} and {len(other)} residues are not related; give one protein"
        )
    return matched_atoms(first, second, pairs)


def _matched(reference: AtomicModel, samples: Samples) -> np.ndarray:
    """(atom,) int64: the row in the samples' model of each atom of the reference, -1 where it has none."""
    if _difference(reference, samples.model) is None:
        return np.arange(reference.n_atoms)
    rows = np.full(reference.n_atoms, -1, dtype=np.int64)
    atoms = same_atoms(reference, samples.model, f"{samples.names[0]} and the reference")
    rows[atoms[:, 0]] = atoms[:, 1]
    return rows


def _moved(samples: Samples, rows: np.ndarray, fixed: AtomicModel, copies: ChainCopies) -> Samples:
    path = samples.path.with_name(samples.path.name + ".framed")
    ca, fixed_ca = fixed.backbone_index()[:, 1], fixed.ca_xyz().astype(np.float64)
    is_ca = np.zeros(fixed.n_atoms, dtype=bool)
    is_ca[ca] = True
    with path.open("wb") as stream:
        for chunk in samples.chunks():
            chosen = chunk[:, rows]
            if len(set(copies.kinds)) < len(copies.kinds):
                orders = [copies.nearest_order(each[ca].astype(np.float64), fixed_ca) for each in chosen]
                chosen = np.stack([each[order] for each, order in zip(chosen, orders, strict=True)])
            stream.write(superposed(chosen, fixed.positions_xyz, is_ca).astype(np.float32).tobytes())
    return replace(samples, model=fixed, path=path)


def _difference(first: AtomicModel, second: AtomicModel) -> str | None:
    """In what the atoms of two models differ, None if they are the same."""
    if all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ARRAYS):
        return None
    one, other = sequence_of(first), sequence_of(second)
    if len(one) != len(other):
        return f"its sequence has {len(other)} residues, not {len(one)}"
    apart = [row for row in range(len(one)) if one[row] != other[row]]
    if apart:
        return f"its sequence has {other[apart[0]]} at position {apart[0] + 1}, not {one[apart[0]]}"
    if first.n_atoms != second.n_atoms:
        return f"it has {second.n_atoms} atoms, not {first.n_atoms}"
    return "its atoms or chains have other names"
