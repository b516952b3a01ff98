"""Atomic models from files: PDB, mmCIF and MMTF structures (plain or gzipped) and frames of DCD trajectories."""

import math
from collections.abc import Iterable
from pathlib import Path

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import ATOM_NAMES, BACKBONE, ELEMENTS, RESIDUE_TYPES, AtomicModel

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
    path: Path, chain: str | None = None, model: int = 0, residues: tuple[int, int] | None = None
) -> AtomicModel:
    """Heavy atoms of one protein chain: the named one, or the longest.

    Of alternative conformations the first is taken; hydrogens, waters and ligands are left out, modified residues
    become their parent (MSE is MET) and keep the atoms they share with it. `model` counts from 0 in file order;
    `residues` keeps author numbers first..last only. Residues without N, CA, C or O at the ends of the chain are left
    out.

    Raises StructureError if the file cannot be read, the chain or model is not there, or backbone atoms are missing.
    """
    return _select(_read_structure(Path(path), model), Path(path), chain, residues)[0]


def read_trajectory_frame(
    trajectory: Path, topology: Path, frame: int, chain: str | None = None, residues: tuple[int, int] | None = None
) -> AtomicModel:
    """Frame `frame` (from 0) of a DCD file whose atoms are those of the first model of `topology`, in file order.

    Raises StructureError if atom counts differ or the frame is not there.
    """
    structure = _read_structure(Path(topology), 0)
    selected, rows = _select(structure, Path(topology), chain, residues)
    frames = _dcd(Path(trajectory), structure[0].count_atom_sites(), Path(topology))
    if not 0 <= frame < len(frames):
        raise StructureError(f"{trajectory}: has frames 0 to {len(frames) - 1}, frame {frame} was asked for")
    return selected.moved(frames[frame][rows])


def _dcd(path: Path, atoms: int, topology: Path) -> np.ndarray:
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


def _read_structure(path: Path, model: int) -> gemmi.Structure:
    """The file's model number `model` alone, every atom's serial its row in the file."""
    if not path.is_file():
        raise StructureError(f"{path}: no such file; check the file named in the entry")
    if path.suffix == ".mmtf":
        structure, n_models = _read_mmtf(path, model)
    else:
        try:
            structure = gemmi.read_structure(str(path))
        except (RuntimeError, ValueError, IndexError) as error:
            raise StructureError(f"{path}: not a readable structure file: {' '.join(str(error).split())}") from None
        n_models = len(structure)
        keep = [each for row, each in enumerate(structure) if row == model]
        structure = gemmi.Structure()
        for each in keep:
            structure.add_model(each)
    if not len(structure):
        raise StructureError(f"{path}: has models 0 to {n_models - 1}, model {model} was asked for")
    for row, atom in enumerate(atom for chain in structure[0] for residue in chain for atom in residue):
        atom.serial = row
    return structure


def _read_mmtf(path: Path, model: int) -> tuple[gemmi.Structure, int]:
    import mmtf

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


def _select(
    structure: gemmi.Structure, path: Path, chain: str | None, residues: tuple[int, int] | None
) -> tuple[AtomicModel, np.ndarray]:
    """The atomic model of one chain and, per atom, its row in the file's model."""
    for residue in (residue for each in structure[0] for residue in each):
        residue.name = FORCE_FIELD_RESIDUES.get(residue.name, residue.name)
    structure.setup_entities()
    structure.remove_alternative_conformations()
    polymers = {each.name: _protein(each) for each in structure[0]}
    name = _choose_chain(polymers, chain, path)
    first, last = residues or (-math.inf, math.inf)
    kept = [residue for residue in polymers[name] if first <= (residue.seqid.num or 0) <= last]
    if not kept:
        raise StructureError(f"{path}: chain {name or 'A'}: no residue within {residues}; correct the entry's residues")
    return _flatten(_complete(kept, path, name or "A"), name or "A")


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
