"""Files of many models, read one model at a time: thousands of conformations need no more memory than a few."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.files import number_atoms
from cryofound.structure.reading import rows_of

CIF_SUFFIXES = (".cif", ".mmcif", ".cif.gz", ".mmcif.gz")
PDB_SUFFIXES = (".pdb", ".ent", ".pdb.gz", ".ent.gz")
COLUMN = "_atom_site."
# What differs from model to model; all other columns say which atom it is.
CHANGING = {"id", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "pdbx_PDB_model_num"}
MODEL_NUMBER = "pdbx_PDB_model_num"
CIF_MARKS = ("#", "_", "loop_", "data_", "save_")
AXES = ("Cartn_x", "Cartn_y", "Cartn_z")

_Row = list[str]  # the words of an atom


class _Format(Protocol):
    """How a file lists its atoms."""

    def models(self) -> Iterator[list[Any]]:
        """The rows of each model."""
        ...

    def atoms(self, rows: list[Any]) -> tuple[object, np.ndarray]:
        """What tells one list of atoms from another, and their positions (atom, 3) float32."""
        ...

    def structure(self, rows: list[Any]) -> gemmi.Structure:
        """One model of the file with all else that the file says."""
        ...


def read_conformations(path: Path, chains: Sequence[str] | None = None) -> Iterator[AtomicModel]:
    """Each model of a PDB or mmCIF file (plain or gzipped) as `read_complex` reads it, in the file's order.

    Models that list the same atoms have all arrays but the positions in common. Raises StructureError as `read_complex`
    does, and for positions that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"{path}: no such file; check its path")
    try:
        yield from _read(path, chains)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise StructureError(f"{path}: not a readable structure file: {error}; copy it again") from None


def _read(path: Path, chains: Sequence[str] | None) -> Iterator[AtomicModel]:
    listing = _listing(path)
    known = model = places = None
    number = 0
    for number, rows in enumerate(listing.models(), start=1):
        try:
            told, positions_xyz = listing.atoms(rows)
            if model is None or places is None or told != known:
                structure = listing.structure(rows)
                if structure[0].count_atom_sites() != len(positions_xyz):
                    raise ValueError("its atoms are not one to a line")
                number_atoms(structure)
                (model, places), known = rows_of(structure, path, chains), told
        except (RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise StructureError(f"{path}: model {number} cannot be read: {reason}; write the file again") from None
        if not np.isfinite(positions_xyz[places]).all():
            raise StructureError(f"{path}: model {number} holds positions that are not finite; sample it again")
        yield model.moved(positions_xyz[places])
    if not number:
        raise StructureError(f"{path}: holds no atoms; it was cut short or is no structure file")


def _listing(path: Path) -> _Format:
    if path.name.endswith(CIF_SUFFIXES):
        return _Cif.of(path)
    if path.name.endswith(PDB_SUFFIXES):
        return _Pdb(path)
    raise StructureError(f"{path}: not a structure file by its name; give {', '.join(CIF_SUFFIXES + PDB_SUFFIXES)}")


def _lines(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.name.endswith(".gz") else path.open()


@dataclass(frozen=True)
class _Pdb:
    path: Path

    def models(self) -> Iterator[list[str]]:
        rows: list[str] = []
        with _lines(self.path) as stream:
            for line in stream:
                if line.startswith(("ATOM", "HETATM", "TER")):
                    rows.append(line)
                elif line.startswith(("MODEL ", "ENDMDL")) and rows:
                    yield rows
                    rows = []
        if rows:
            yield rows

    def atoms(self, rows: list[str]) -> tuple[object, np.ndarray]:
        atoms = [line for line in rows if not line.startswith("TER")]
        positions = [(float(line[30:38]), float(line[38:46]), float(line[46:54])) for line in atoms]
        return [line[12:27] + line[76:78] for line in atoms], np.array(positions, dtype=np.float32).reshape(-1, 3)

    def structure(self, rows: list[str]) -> gemmi.Structure:
        return gemmi.read_pdb_string("".join(rows))


@dataclass(frozen=True)
class _Cif:
    """Text before and after the rows of the atoms, and their columns."""

    path: Path
    before: str
    after: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "_Cif":
        before, after, columns = [], [], []
        with _lines(path) as stream:
            for found in _told(stream):
                if isinstance(found, list):
                    continue
                if found.startswith(COLUMN):
                    columns.append(found.strip().removeprefix(COLUMN))
                (before if found.startswith(COLUMN) or not columns else after).append(found)
        missing = [name for name in AXES if name not in columns]
        if missing:
            raise StructureError(f"{path}: lists no {COLUMN}{missing[0]}; it was cut short or is no structure file")
        return cls(path, "".join(before), "".join(after), tuple(columns))

    def models(self) -> Iterator[list[_Row]]:
        number = self.columns.index(MODEL_NUMBER) if MODEL_NUMBER in self.columns else None
        with _lines(self.path) as stream:
            rows = (found for found in _told(stream) if isinstance(found, list))
            for _, model in groupby(rows, lambda row: None if number is None else row[number]):
                yield list(model)

    def atoms(self, rows: list[_Row]) -> tuple[object, np.ndarray]:
        columns = dict(zip(self.columns, zip(*rows, strict=True), strict=True))
        positions = np.array([columns[axis] for axis in AXES], dtype=np.float32).T
        return {name: column for name, column in columns.items() if name not in CHANGING}, positions

    def structure(self, rows: list[_Row]) -> gemmi.Structure:
        text = self.before + "\n".join(map(" ".join, rows)) + "\n" + self.after
        return gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())


def _told(stream: IO[str]) -> Iterator[str | _Row]:
    """The words of every atom, of which some programs wrap the line, and every line that is none of an atom's."""
    columns, row = 0, []
    for line in stream:
        if line.startswith(COLUMN):
            columns += 1
        elif columns and (row or not line.startswith(CIF_MARKS)) and (words := line.split()):
            row += words
            if len(row) >= columns:
                yield row
                row = []
            continue
        elif columns:
            columns = 0
        yield line
