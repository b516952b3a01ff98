"""Atomic models from files: chains and complexes of proteins, without anything else that a structure holds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, ELEMENTS, ONE_LETTER, RESIDUE_TYPES, AtomicModel
from cryofound.structure.chains import joined
from cryofound.structure.files import open_model, trajectory_frames

# Author numbers of the first and last residue to keep; None for an open end.
ResidueRange = tuple[int | None, int | None]

SIDE_CHAINS = {
    "ALA": "CB", "ARG": "CB CG CD NE CZ NH1 NH2", "ASN": "CB CG OD1 ND2", "ASP": "CB CG OD1 OD2", "CYS": "CB SG",
    "GLN": "CB CG CD OE1 NE2", "GLU": "CB CG CD OE1 OE2", "GLY": "", "HIS": "CB CG ND1 CD2 CE1 NE2",
    "ILE": "CB CG1 CG2 CD1", "LEU": "CB CG CD1 CD2", "LYS": "CB CG CD CE NZ", "MET": "CB CG SD CE",
    "PHE": "CB CG CD1 CD2 CE1 CE2 CZ", "PRO": "CB CG CD", "SER": "CB OG", "THR": "CB OG1 CG2",
    "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2", "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH", "VAL": "CB CG1 CG2",
    "UNK": "CB",
}  # fmt: skip
# Force fields name protonation states; gemmi's table of residues does not know these names.
FORCE_FIELD_RESIDUES = {
    "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "CYX": "CYS", "LSN": "LYS",
    "ASH": "ASP", "ASPP": "ASP", "GLH": "GLU", "GLUP": "GLU",
}  # fmt: skip
ATOM_ALIASES: dict[tuple[str, str], str] = {("ILE", "CD"): "CD1", ("MET", "SE"): "SD"}
TERMINAL_OXYGENS = {"OT1": "O", "OT2": "OXT", "O1": "O", "O2": "OXT"}
MAX_INCOMPLETE = 0.05


def read_model(
    path: Path, chain: str | None = None, model: int = 0, residues: ResidueRange | None = None
) -> AtomicModel:
    """Heavy atoms of one protein chain: the named one, or the longest.

    Of alternative conformations the first is taken; hydrogens, waters and ligands are left out, modified residues
    become their parent (MSE is MET) and keep the atoms they share with it. `model` counts from 0 in file order;
    `residues` keeps author numbers first..last only. Residues without N, CA, C or O at the ends of the chain are left
    out.

    Raises StructureError if the file cannot be read, the chain or model is not there, or backbone atoms are missing.
    """
    path = Path(path)
    polymers = _polymers(open_model(path, model))
    return _chain_model(polymers, _choose_chain(polymers, chain, path), path, residues)[0]


def read_complex(
    path: Path,
    chains: Sequence[str] | None = None,
    model: int = 0,
    residues: Mapping[str, ResidueRange] | None = None,
) -> AtomicModel:
    """Heavy atoms of several protein chains, one after another: the named ones in that order, else all there are.

    Each chain is read as `read_model` reads it, `residues` by the chain's name. Raises StructureError as `read_model`
    does, for a file without protein, and for a chain name that stands for two molecules.
    """
    return read_rows(path, chains, model, residues)[0]


def read_rows(
    path: Path,
    chains: Sequence[str] | None = None,
    model: int = 0,
    residues: Mapping[str, ResidueRange] | None = None,
) -> tuple[AtomicModel, np.ndarray]:
    """As `read_complex`, and for each atom (atom,) its row in the file's model, as `open_numbered` counts them."""
    return rows_of(open_model(Path(path), model), Path(path), chains, residues)


def rows_of(
    structure: gemmi.Structure,
    path: Path,
    chains: Sequence[str] | None = None,
    residues: Mapping[str, ResidueRange] | None = None,
) -> tuple[AtomicModel, np.ndarray]:
    """As `read_rows`, of the one model of a structure whose atoms are numbered; `path` is for its errors."""
    numbers = {chain.name: _residue_numbers(chain) for chain in structure[0]}
    polymers = _polymers(structure)
    names = [name for name, found in polymers.items() if found] if chains is None else list(chains)
    if not names:
        raise StructureError(f"{path}: holds no protein chain; give the structure of a protein")
    for name in set(names) & set(numbers):
        _check_one_molecule(numbers[name], polymers[name], f"{path}: chain {name or 'A'}")
    return _complex_model(polymers, names, path, residues or {})


def protein_sequences(path: Path, model: int = 0) -> dict[str, str]:
    """One-letter sequence of every protein chain of a file by its name, also of those that lack atoms."""
    polymers = _polymers(open_model(Path(path), model))
    return {
        name or "A": "".join(_one_letter(residue.name) for residue in found)
        for name, found in polymers.items()
        if found
    }


def read_trajectory_frame(
    trajectory: Path,
    topology: Path,
    frame: int,
    chain: str | Sequence[str] | None = None,
    residues: ResidueRange | None = None,
) -> AtomicModel:
    """Frame `frame` (from 0) of a DCD file whose atoms are those of the first model of `topology`, in file order.

    `chain` is one, several of a complex, or None for the longest; `residues` are of each. Raises StructureError if atom
    counts differ or the frame is not there.
    """
    structure = open_model(Path(topology), 0)
    polymers = _polymers(structure)
    names = [_choose_chain(polymers, chain, topology)] if chain is None or isinstance(chain, str) else list(chain)
    ranges = {} if residues is None else dict.fromkeys(names, residues)
    selected, rows = _complex_model(polymers, names, Path(topology), ranges)
    frames = trajectory_frames(Path(trajectory), structure[0].count_atom_sites(), Path(topology))
    if not 0 <= frame < len(frames):
        raise StructureError(f"{trajectory}: has frames 0 to {len(frames) - 1}, frame {frame} was asked for")
    return selected.moved(frames[frame][rows])


def _polymers(structure: gemmi.Structure) -> dict[str, list[gemmi.Residue]]:
    """The protein residues of every chain by its name, alternative conformations removed; empty for other chains."""
    for residue in (residue for each in structure[0] for residue in each):
        residue.name = FORCE_FIELD_RESIDUES.get(residue.name, residue.name)
    structure.setup_entities()
    structure.remove_alternative_conformations()
    found: dict[str, list[gemmi.Residue]] = {}
    for each in structure[0]:
        # MMTF has ligands and waters in chains of their own that bear the protein's name.
        found.setdefault(each.name, []).extend(_protein(each))
    return found


def _complex_model(
    polymers: dict[str, list[gemmi.Residue]], names: Sequence[str], path: Path, residues: Mapping[str, ResidueRange]
) -> tuple[AtomicModel, np.ndarray]:
    """The atomic model of several chains and, per atom, its row in the file's model."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise StructureError(f"{path}: chain {twice[0]} is asked for twice; name each chain once")
    models, rows = [], []
    for asked in names:
        name = _choose_chain(polymers, asked, path)
        found, its_rows = _chain_model(polymers, name, path, residues.get(asked))
        models.append(found)
        rows.append(its_rows)
    return joined(models), np.concatenate(rows)


def _residue_numbers(chain: gemmi.Chain) -> list[str]:
    """Author numbers of the protein residues that have a backbone, in file order."""
    return [
        str(residue.seqid)
        for residue in chain
        if residue.het_flag == "A" and set(BACKBONE) <= {atom.name for atom in residue}
    ]


def _check_one_molecule(numbers: list[str], protein: list[gemmi.Residue], where: str) -> None:
    """Raise StructureError if two proteins share the chain's name: numbers come again, or go on after a TER."""
    # Residues of which a molecule has two kinds follow one another.
    again = [number for number, times in Counter(number for number, _ in groupby(numbers)).items() if times > 1]
    again = again or sorted(set(numbers) - {str(residue.seqid) for residue in protein})
    if again:
        raise StructureError(
            f"{where} holds two molecules, the second with residue {again[0]}; give each chain a name of its own"
        )


def _chain_model(
    polymers: dict[str, list[gemmi.Residue]], name: str, path: Path, residues: ResidueRange | None
) -> tuple[AtomicModel, np.ndarray]:
    """The atomic model of one chain and, per atom, its row in the file's model."""
    first, last = residues or (None, None)
    low, high = -math.inf if first is None else first, math.inf if last is None else last
    kept = [residue for residue in polymers[name] if low <= (residue.seqid.num or 0) <= high]
    if not kept:
        raise StructureError(f"{path}: chain {name or 'A'}: no residue within {residues}; correct the entry's residues")
    model, rows = _flatten(_complete(kept, path, name or "A"), name or "A")
    if not np.isfinite(model.positions_xyz).all():
        raise StructureError(f"{path}: chain {name or 'A'}: positions that are no numbers; write the file again")
    return model, rows


def _protein(chain: gemmi.Chain) -> list[gemmi.Residue]:
    return [residue for residue in chain.get_polymer() if _parent(residue.name) is not None]


def _choose_chain(polymers: dict[str, list[gemmi.Residue]], chain: str | None, path: Path) -> str:
    # Tools write a blank chain as A; both names find it.
    wanted = "" if chain == "A" and "A" not in polymers else chain
    if wanted is not None and wanted not in polymers:
        raise StructureError(f"{path}: no chain {chain}; it has {', '.join(polymers) or 'none'}")
    name = wanted if wanted is not None else max(polymers, key=lambda each: len(polymers[each]), default="")
    if not polymers.get(name):
        raise StructureError(f"{path}: chain {name or 'A'} holds no protein residue; name a protein chain in the entry")
    return name


def _parent(residue_name: str) -> str | None:
    """Residue type of an amino acid or of what it was made from; UNK where that is unknown, None for all else."""
    if residue_name in RESIDUE_TYPES:
        return residue_name
    known = gemmi.find_tabulated_residue(residue_name)
    if not known.is_amino_acid():
        return None
    parent = gemmi.expand_one_letter(known.one_letter_code.upper(), gemmi.ResidueKind.AA)
    return parent if parent in RESIDUE_TYPES else "UNK"


def _one_letter(residue_name: str) -> str:
    return ONE_LETTER[RESIDUE_TYPES.index(_parent(residue_name) or "UNK")]


def _complete(residues: list[gemmi.Residue], path: Path, chain: str) -> list[gemmi.Residue]:
    """Residues without the ends that lack backbone atoms; raises StructureError where others lack them."""
    missing = [[name for name in BACKBONE if name not in _atoms(residue)] for residue in residues]
    whole = [row for row, names in enumerate(missing) if not names]
    lacking = len(residues) - len(whole)
    first, last = (whole[0], whole[-1]) if whole else (0, len(residues) - 1)
    inner = [row for row in range(first, last + 1) if missing[row]]
    if inner or lacking > max(2.0, MAX_INCOMPLETE * len(residues)):
        named = inner or [row for row, names in enumerate(missing) if names]
        listed = "; ".join(
            f"residue {residues[row].seqid.num} {residues[row].name} lacks {', '.join(missing[row])}"
            for row in named[:3]
        )
        more = f"; {len(named) - 3} more" if len(named) > 3 else ""
        raise StructureError(f"{path}: chain {chain}: {listed}{more}; name a chain whose backbone is whole")
    return residues[first : last + 1]


def _atoms(residue: gemmi.Residue) -> dict[str, gemmi.Atom]:
    """Heavy atoms by their standard names, those that the residue's parent has."""
    parent = _parent(residue.name) or "UNK"
    allowed = {*BACKBONE, *SIDE_CHAINS[parent].split(), "OXT"}
    given = {atom.name for atom in residue}
    found: dict[str, gemmi.Atom] = {}
    for atom in residue:
        own_name = str(atom.name)
        name = ATOM_ALIASES.get((parent, own_name), own_name)
        if "O" not in given:
            name = TERMINAL_OXYGENS.get(name, name)
        if name in allowed:
            found.setdefault(name, atom)
    return found


def _flatten(residues: list[gemmi.Residue], chain: str) -> tuple[AtomicModel, np.ndarray]:
    positions, names, elements, index, rows = [], [], [], [], []
    for number, residue in enumerate(residues):
        atoms = _atoms(residue)
        for name in sorted(atoms, key=ATOM_NAMES.index):
            positions.append(atoms[name].pos.tolist())
            names.append(ATOM_NAMES.index(name))
            # The names of amino-acid atoms begin with their element; the file's column may be empty or wrong.
            elements.append(ELEMENTS.index(name[0]))
            index.append(number)
            rows.append(atoms[name].serial)
    model = AtomicModel(
        positions_xyz=np.array(positions, dtype=np.float32),
        atom_name=np.array(names, dtype=np.int64),
        element=np.array(elements, dtype=np.int64),
        residue_index=np.array(index, dtype=np.int64),
        residue_type=np.array([RESIDUE_TYPES.index(_parent(each.name) or "UNK") for each in residues], dtype=np.int64),
        residue_number=np.array([residue.seqid.num for residue in residues], dtype=np.int64),
        chain_id=np.array([chain] * len(residues)),
    )
    return model, np.array(rows, dtype=np.int64)
