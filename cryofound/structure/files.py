"""Structure files (PDB, mmCIF and MMTF, plain or gzipped) and DCD trajectories, opened."""

from collections.abc import Iterable
from pathlib import Path

import gemmi
import numpy as np

from cryofound.errors import StructureError


def open_structure(path: Path) -> gemmi.Structure:
    """A PDB or mmCIF file (plain or gzipped) as gemmi reads it, with all that it says beside its atoms.

    Raises StructureError if it is not there, cannot be read or holds no atoms.
    """
    structure = _read_parts(path)
    structure.merge_chain_parts()
    return structure


def _read_parts(path: Path) -> gemmi.Structure:
    """All models, atoms in file order: a chain of which waters come later in the file is there in parts."""
    if not Path(path).is_file():
        raise StructureError(f"{path}: no such file; check its path")
    try:
        structure = gemmi.read_structure(str(path), merge_chain_parts=False)
    except (RuntimeError, ValueError, IndexError) as error:
        raise StructureError(f"{path}: not a readable structure file: {' '.join(str(error).split())}") from None
    if not len(structure):
        raise StructureError(f"{path}: holds no atoms; it was cut short or is no structure file")
    return structure


def open_model(path: Path, model: int) -> gemmi.Structure:
    """The file's model number `model` (from 0) alone, every atom's serial its row in the file; raises StructureError.

    Also of MMTF files.
    """
    if path.suffix == ".mmtf":
        structure, n_models = _open_mmtf(path, model)
    else:
        whole = _read_parts(path)
        n_models = len(whole)
        keep = [each for row, each in enumerate(whole) if row == model]
        structure = gemmi.Structure()
        for each in keep:
            structure.add_model(each)
    if not len(structure):
        raise StructureError(f"{path}: has models 0 to {n_models - 1}, model {model} was asked for")
    number_atoms(structure)
    return structure


def open_numbered(path: Path, model: int) -> gemmi.Structure:
    """As `open_model`, with all that the file says beside its atoms; not of MMTF files."""
    structure = _read_parts(path)
    if not 0 <= model < len(structure):
        raise StructureError(f"{path}: has models 0 to {len(structure) - 1}, model {model} was asked for")
    for other in reversed([row for row in range(len(structure)) if row != model]):
        del structure[other]
    number_atoms(structure)
    return structure


def number_atoms(structure: gemmi.Structure) -> None:
    """Make every atom's serial its row in the file's one model, then merge the parts of chains; changes `structure`."""
    for row, atom in enumerate(atom for chain in structure[0] for residue in chain for atom in residue):
        atom.serial = row
    structure.merge_chain_parts()


def trajectory_frames(path: Path, atoms: int, topology: Path) -> np.ndarray:
    """(frame, atom, 3) float32 angstrom: the coordinates of a DCD file (CHARMM, NAMD) without fixed atoms."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error.strerror}); check the file named in the entry") from None
    order = "<" if raw[:4] == (84).to_bytes(4, "little") else ">"
    if raw[4:8] != b"CORD" or np.frombuffer(raw, order + "i4", 1, 0)[0] != 84:
        raise StructureError(f"{path}: not a DCD trajectory; give a .dcd file written by CHARMM or NAMD")
    header = np.frombuffer(raw, order + "i4", 20, 8)
    if header[8]:
        raise StructureError(f"{path}: has {header[8]} fixed atoms, which are not read; write all atoms in every frame")
    records, position = [], 92
    for _ in range(2):  # title, number of atoms
        length = int(np.frombuffer(raw, order + "i4", 1, position)[0])
        records.append(raw[position + 4 : position + 4 + length])
        position += length + 8
    found = int(np.frombuffer(records[1], order + "i4", 1)[0])
    if found != atoms:
        raise StructureError(
            f"{path}: {found} atoms per frame, topology {topology} has {atoms}; give the topology it was run with"
        )
    cell = 56 if header[10] else 0
    frame_bytes = cell + 3 * (4 * atoms + 8)
    # The count in the header is not trusted: a run that was stopped early claims more frames than it wrote.
    n_frames = (len(raw) - position) // frame_bytes
    body = np.frombuffer(raw, np.uint8, n_frames * frame_bytes, position).reshape(n_frames, frame_bytes)[:, cell:]
    axes = body.reshape(n_frames, 3, 4 * atoms + 8)[:, :, 4:-4]
    return np.ascontiguousarray(axes).view(order + "f4").transpose(0, 2, 1).astype(np.float32)


def _open_mmtf(path: Path, model: int) -> tuple[gemmi.Structure, int]:
    import mmtf

    if not path.is_file():
        raise StructureError(f"{path}: no such file; check its path")
    data = mmtf.parse(str(path))
    structure = gemmi.Structure()
    chains = groups = atoms = 0
    for number, n_chains in enumerate(data.chains_per_model):
        built = gemmi.Model("1")
        for _ in range(n_chains):
            chain = gemmi.Chain(data.chain_name_list[chains])
            for _ in range(data.groups_per_chain[chains]):
                kind = data.group_list[data.group_type_list[groups]]
                n_atoms = len(kind["atomNameList"])
                if number == model:
                    chain.add_residue(_mmtf_residue(data, kind, groups, range(atoms, atoms + n_atoms)))
                groups, atoms = groups + 1, atoms + n_atoms
            chains += 1
            built.add_chain(chain)
        if number == model:
            structure.add_model(built)
    return structure, data.num_models


def _mmtf_residue(data, kind: dict, group: int, rows: Iterable[int]) -> gemmi.Residue:
    residue = gemmi.Residue()
    residue.name = kind["groupName"]
    residue.seqid = gemmi.SeqId(int(data.group_id_list[group]), data.ins_code_list[group].strip("\0") or " ")
    for row, name, element in zip(rows, kind["atomNameList"], kind["elementList"], strict=True):
        atom = gemmi.Atom()
        atom.name, atom.element = name, gemmi.Element(element)
        atom.altloc = data.alt_loc_list[row] or "\0"
        atom.pos = gemmi.Position(
            *(float(axis[row]) for axis in (data.x_coord_list, data.y_coord_list, data.z_coord_list))
        )
        residue.add_atom(atom)
    return residue
