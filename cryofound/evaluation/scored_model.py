"""One model of a structure file as it is scored: every heavy atom, ligands and waters too, and its residues."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.structure.files import open_structure


class Residue(NamedTuple):
    """Chain, author's number, insertion code ("" for none) and name: what every program calls a residue by."""

    chain: str
    number: int
    insertion: str
    name: str


@dataclass(frozen=True)
class ScoredModel:
    """`structure` holds one model without hydrogens; `name` is that of its file, and of its model if there are several.

    Arrays over atoms are in the order of the structure.
    """

    name: str
    path: Path
    structure: gemmi.Structure

    @cached_property
    def residues(self) -> list[Residue]:
        """Residues in file order; point mutations in one place are several."""
        return [
            Residue(chain.name, each.seqid.num or 0, each.seqid.icode.strip(), each.name)
            for chain in self.structure[0]
            for each in chain
        ]

    @cached_property
    def residue_index(self) -> np.ndarray:
        """(atom,) int64: row in `residues`."""
        sizes = [len(each) for chain in self.structure[0] for each in chain]
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def positions_xyz(self) -> np.ndarray:
        """(atom, 3) float64, angstrom."""
        return np.array([each.atom.pos.tolist() for each in self.structure[0].all()])

    @cached_property
    def first_conformation(self) -> np.ndarray:
        """(atom,) bool: atoms without alternatives, and those of the first one of each residue."""
        kept = []
        for chain in self.structure[0]:
            for residue in chain:
                letters = sorted({atom.altloc for atom in residue} - {"\0"})
                kept += [atom.altloc in ("\0", *letters[:1]) for atom in residue]
        return np.array(kept)

    def write(self, path: Path, names: set[str] | None = None) -> None:
        """Write the model as mmCIF, or of it only residues that bear one of the names."""
        structure = self.structure
        if names is not None:
            structure = structure.clone()
            for chain in structure[0]:
                for row in reversed(range(len(chain))):
                    if chain[row].name not in names:
                        del chain[row]
            structure.remove_empty_chains()
        structure.make_mmcif_document().write_file(str(path))


def read_scored_models(path: Path) -> list[ScoredModel]:
    """Every model of a file (PDB or mmCIF, plain or gzipped), by whatever program.

    Hydrogens are left out: the scores either need none or place their own. Charges go, as electron scattering factors
    are those of neutral atoms. A chain without a name becomes the first letter that is free. Raises StructureError if
    the file cannot be read, holds no atoms, or an atom has no element.
    """
    path = Path(path)
    whole = open_structure(path)
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    models = []
    for number, model in enumerate(whole, start=1):
        structure = gemmi.Structure()
        structure.add_model(model)
        structure.remove_hydrogens()
        structure.remove_empty_chains()
        if not len(structure) or not structure[0].count_atom_sites():
            raise StructureError(f"{path}: model {number} holds no heavy atoms; it was cut short or is no model")
        for each in structure[0].all():
            if each.atom.element.atomic_number == 0:
                raise StructureError(
                    f"{path}: atom {each.atom.name} of {each.residue.name} {each.residue.seqid} in chain "
                    f"{each.chain.name} has no known element; write the element into the file"
                )
            each.atom.charge = 0
        _name_chains(structure[0])
        structure.setup_entities()
        models.append(ScoredModel(stem if len(whole) == 1 else f"{stem}#{number}", path, structure))
    return models


def _name_chains(model: gemmi.Model) -> None:
    taken = {chain.name for chain in model}
    free = next(letter for letter in ascii_uppercase + ascii_lowercase if letter not in taken)
    for chain in model:
        if not chain.name.strip():
            chain.name = free
