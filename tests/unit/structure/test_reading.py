"""Structure files as programs write them, with everything that is not the protein in them."""

import gzip
from pathlib import Path

import biotite.structure.io.pdb as biotite_pdb
import numpy as np
import pytest
from biotite.structure.io.dcd import DCDFile
from mmtf.api.mmtf_writer import MMTFEncoder

from cryofound.errors import StructureError
from cryofound.structure.alignment import sequence_of
from cryofound.structure.atomic_model import ATOM_NAMES, ELEMENTS, RESIDUE_TYPES
from cryofound.structure.chains import chain_rows, joined
from cryofound.structure.reading import protein_sequences, read_complex, read_model, read_trajectory_frame
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


def atom(
    serial: int, name: str, residue: str, chain: str, number: int, x: float, alt: str = " ", kind: str = "ATOM"
) -> str:
    place = f"{x:8.3f}{0:8.3f}{0:8.3f}{1:6.2f}{0:6.2f}"
    return f"{kind:<6}{serial:>5} {name:<4}{alt}{residue:>3} {chain}{number:>4}    {place}"


def backbone(first_serial: int, residue: str, chain: str, number: int, without: str = "") -> list[str]:
    names = [name for name in ("N", "CA", "C", "O") if name != without]
    return [
        atom(first_serial + row, f" {name}", residue, chain, number, 3.8 * number + 0.5 * row)
        for row, name in enumerate(names)
    ]


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def names_of(model) -> list[str]:
    return [str(ATOM_NAMES[name]) for name in model.atom_name]


def test_only_the_protein_is_read(tmp_path: Path) -> None:
    lines = [
        *backbone(1, "MSE", "A", 1),
        atom(5, "SE", "MSE", "A", 1, 9.0),
        atom(6, " H", "MSE", "A", 1, 9.0),
        *backbone(7, "SER", "A", 2),
        atom(11, " OG", "SER", "A", 2, 21.0, alt="A"),
        atom(12, " OG", "SER", "A", 2, 22.0, alt="B"),
        *backbone(13, "SEP", "A", 3),
        atom(17, " P", "SEP", "A", 3, 9.0),
        *backbone(18, "GLY", "A", 4),
        "TER",
        *backbone(23, "ALA", "B", 1),
        "TER",
        atom(30, "CA", " CA", "A", 200, 50.0, kind="HETATM"),
        atom(31, " O", "HOH", "A", 201, 51.0, kind="HETATM"),
    ]
    model = read_model(written(tmp_path / "x.pdb", lines))
    assert [RESIDUE_TYPES[kind] for kind in model.residue_type] == ["MET", "SER", "SER", "GLY"]
    assert names_of(model) == ["N", "CA", "C", "O", "SD", "N", "CA", "C", "O", "OG"] + 2 * ["N", "CA", "C", "O"]
    assert [ELEMENTS[element] for element in model.element[[1, 4, 9]]] == ["C", "S", "O"]
    assert model.positions_xyz[9, 0] == 21.0
    assert list(model.chain_id) == ["A"] * 4
    assert read_model(tmp_path / "x.pdb", chain="B").n_residues == 1
    assert list(read_model(tmp_path / "x.pdb", residues=(2, 3)).residue_number) == [2, 3]


def test_names_of_force_fields_and_a_blank_chain(tmp_path: Path) -> None:
    lines = [
        *backbone(1, "HSD", " ", 1),
        *backbone(5, "ILE", " ", 2),
        atom(9, " CD", "ILE", " ", 2, 9.0),
        *backbone(10, "LEU", " ", 3, without="O"),
        atom(14, "OT1", "LEU", " ", 3, 13.0),
        atom(15, "OT2", "LEU", " ", 3, 14.0),
    ]
    model = read_model(written(tmp_path / "x.pdb", lines))
    assert sequence_of(model) == "HIL"
    assert names_of(model)[4:] == ["N", "CA", "C", "O", "CD1", "N", "CA", "C", "O", "OXT"]
    assert model.positions_xyz[-2:, 0].tolist() == [13.0, 14.0]
    assert set(model.chain_id) == {"A"}


def test_a_residue_without_backbone_is_named(tmp_path: Path) -> None:
    lines = [
        line
        for number in range(1, 31)
        for line in backbone(4 * number, "GLY", "A", number, "CA" if number == 12 else "")
    ]
    path = written(tmp_path / "x.pdb", lines)
    with pytest.raises(StructureError) as raised:
        read_model(path)
    assert str(raised.value) == f"{path}: chain A: residue 12 GLY lacks CA; name a chain whose backbone is whole"


def test_ends_without_backbone_are_left_out(tmp_path: Path) -> None:
    lines = [
        line
        for number in range(1, 31)
        for line in backbone(4 * number, "GLY", "A", number, "O" if number in (1, 30) else "")
    ]
    model = read_model(written(tmp_path / "x.pdb", lines))
    assert list(model.residue_number) == list(range(2, 30))


def test_a_model_of_alpha_carbons_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pdb", [atom(n, " CA", "GLY", "A", n, 3.8 * n) for n in range(1, 31)])
    with pytest.raises(StructureError, match=r"chain A: residue 1 GLY lacks N, C, O; .*; 27 more; name a chain"):
        read_model(path)


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pdb", [line for n in range(1, 9) for line in backbone(4 * n, "GLY", "A", n)])
    (tmp_path / "bad.cif").write_text("data_x\nloop_\n_atom_site.id\n'unfinished")
    for call, expected in (
        (lambda: read_model(path, chain="Q"), "no chain Q; it has A"),
        (lambda: read_model(path, residues=(100, 200)), r"no residue within \(100, 200\)"),
        (lambda: read_model(tmp_path / "none.pdb"), "no such file"),
        (lambda: read_model(tmp_path / "bad.cif"), "bad.cif: not a readable structure file"),
    ):
        with pytest.raises(StructureError, match=expected) as raised:
            call()
        assert "\n" not in str(raised.value)


def dimer(path: Path, second: str = "B") -> Path:
    """Chain A of glycines 1 to 8, then serines 1 to 6 and a water."""
    return written(
        path,
        [
            *(line for n in range(1, 9) for line in backbone(4 * n, "GLY", "A", n)),
            "TER",
            *(line for n in range(1, 7) for line in backbone(40 + 4 * n, "SER", second, n)),
            "TER",
            atom(90, " O", "HOH", "A", 201, 51.0, kind="HETATM"),
        ],
    )


def test_chains_come_in_the_order_they_are_named_in(tmp_path: Path) -> None:
    path = dimer(tmp_path / "x.pdb")
    assert sequence_of(read_complex(path)) == "GGGGGGGGSSSSSS"
    named = read_complex(path, ["B", "A"], residues={"A": (7, None), "B": (None, 2)})
    assert sequence_of(named) == "SSGG"
    assert named.chain_id.tolist() == ["B", "B", "A", "A"]
    assert named.residue_number.tolist() == [1, 2, 7, 8]
    assert protein_sequences(path) == {"A": "GGGGGGGG", "B": "SSSSSS"}


def test_chains_that_cannot_be_told_apart_or_are_not_there(tmp_path: Path) -> None:
    path = dimer(tmp_path / "x.pdb", second="A")
    with pytest.raises(StructureError, match=r"x\.pdb: chain A holds two molecules, the second with residue 1; give"):
        read_complex(path)
    path = dimer(tmp_path / "x.pdb")
    for chains, expected in ((["A", "C"], "no chain C; it has A, B"), (["A", "A"], "chain A is asked for twice")):
        with pytest.raises(StructureError, match=expected) as raised:
            read_complex(path, chains)
        assert "\n" not in str(raised.value)
    water = written(tmp_path / "w.pdb", [atom(1, " O", "HOH", "A", 1, 0.0, kind="HETATM")])
    with pytest.raises(StructureError, match=r"w\.pdb: holds no protein chain"):
        read_complex(water)


def test_a_residue_of_two_kinds_is_no_second_molecule(tmp_path: Path) -> None:
    lines = [line for n in range(1, 5) for line in backbone(4 * n, "GLY", "A", n)]
    lines += [line[:16] + alt + line[17:] for alt, kind in zip("AB", ("SER", "ALA"), strict=True)
              for line in backbone(40, kind, "A", 5)]  # fmt: skip
    assert sequence_of(read_complex(written(tmp_path / "x.pdb", lines))) == "GGGGS"


def test_frames_of_a_complex(tmp_path: Path) -> None:
    topology = dimer(tmp_path / "x.pdb")
    trajectory = DCDFile()
    trajectory.set_coord(np.arange(57 * 3, dtype=np.float32).reshape(1, 57, 3))
    trajectory.write(tmp_path / "t.dcd")
    model = read_trajectory_frame(tmp_path / "t.dcd", topology, 0, ["B", "A"])
    # rows of the file: 32 atoms of A, then 24 of B, then the water
    np.testing.assert_array_equal(model.positions_xyz[:, 0], 3 * np.r_[32:56, 0:32])


@pytest.mark.shared
def test_a_complex_is_its_chains_read_one_by_one(shared_data: Path) -> None:
    for path in ("families/trp_channel/7l2i.cif.gz", "maps/emd3488_5ni1/modelangelo_5ni1.cif.gz"):
        whole = read_complex(shared_data / path)
        again = joined([read_model(shared_data / path, name) for name in chain_rows(whole)])
        for name, expected in vars(again).items():
            np.testing.assert_array_equal(getattr(whole, name), expected)
    assert list(chain_rows(whole)) == ["Ba", "Aa", "Bb", "Ab"]


def test_frames_written_by_another_program(tmp_path: Path) -> None:
    model = made_protein(30)
    write_ensemble(tmp_path / "top.cif", model, model.positions_xyz[None])
    frames = model.positions_xyz + np.random.default_rng(0).normal(size=(4, model.n_atoms, 3)).astype(np.float32)
    trajectory = DCDFile()
    trajectory.set_coord(frames)
    trajectory.write(tmp_path / "t.dcd")
    for number in range(4):
        read = read_trajectory_frame(tmp_path / "t.dcd", tmp_path / "top.cif", number)
        np.testing.assert_array_equal(read.positions_xyz, frames[number])
    with pytest.raises(StructureError, match="has frames 0 to 3, frame 4 was asked for"):
        read_trajectory_frame(tmp_path / "t.dcd", tmp_path / "top.cif", 4)
    other = made_protein(29)
    write_ensemble(tmp_path / "other.cif", other, other.positions_xyz[None])
    with pytest.raises(StructureError, match=f"{model.n_atoms} atoms per frame, topology .* has {other.n_atoms}"):
        read_trajectory_frame(tmp_path / "t.dcd", tmp_path / "other.cif", 0)
    with pytest.raises(StructureError, match="not a DCD trajectory"):
        read_trajectory_frame(tmp_path / "top.cif", tmp_path / "top.cif", 0)


def test_a_frame_keeps_the_topology_s_order_of_atoms(tmp_path: Path) -> None:
    # Hydrogens and an odd order in the file: the frame's rows must follow the file, the model its own order.
    lines = [
        line
        for n in range(1, 9)
        for line in (*backbone(5 * n, "GLY", "A", n)[::-1], atom(5 * n + 4, " H", "GLY", "A", n, 0))
    ]
    topology = written(tmp_path / "x.pdb", lines)
    trajectory = DCDFile()
    trajectory.set_coord(np.arange(40 * 3, dtype=np.float32).reshape(1, 40, 3))
    trajectory.write(tmp_path / "t.dcd")
    model = read_trajectory_frame(tmp_path / "t.dcd", topology, 0)
    assert names_of(model)[:4] == ["N", "CA", "C", "O"]
    np.testing.assert_array_equal(model.positions_xyz[:4, 0], [9, 6, 3, 0])


def test_mmtf_models(tmp_path: Path) -> None:
    model = made_protein(12)
    encoder = MMTFEncoder()
    encoder.init_structure(0, 2 * model.n_atoms, 2 * 12, 2, 2, "made")
    for number in range(2):
        encoder.set_model_info(number, 1)
        encoder.set_chain_info("A", "A", 12)
        for residue in range(12):
            rows = np.flatnonzero(model.residue_index == residue)
            name = RESIDUE_TYPES[model.residue_type[residue]]
            encoder.set_group_info(name, residue + 1, "\0", "L-PEPTIDE LINKING", len(rows), 0, "X", residue, -1)
            for row in rows:
                x, y, z = (model.positions_xyz[row] + 10 * number).tolist()
                symbol = ATOM_NAMES[model.atom_name[row]]
                encoder.set_atom_info(symbol, int(row), "\0", x, y, z, 1.0, 0.0, symbol[0], 0)
    encoder.set_xtal_info("P 1", [1, 1, 1, 90, 90, 90])
    encoder.set_header_info(None, None, 1.0, "made", "2026-01-01", "2026-01-01", ["NMR"])
    encoder.finalize_structure()
    encoder.write_file(str(tmp_path / "x.mmtf"))
    second = read_model(tmp_path / "x.mmtf", model=1)
    np.testing.assert_allclose(second.positions_xyz, model.positions_xyz + 10, atol=1e-3)
    np.testing.assert_array_equal(second.residue_type, model.residue_type)
    with pytest.raises(StructureError, match="has models 0 to 1, model 2 was asked for"):
        read_model(tmp_path / "x.mmtf", model=2)


@pytest.mark.shared
def test_agrees_with_biotite_on_a_crystal_structure(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "calmodulin/seed/4cln.pdb"
    model = read_model(source)
    theirs = biotite_pdb.PDBFile.read(source).get_structure(model=1, altloc="first")
    ca = theirs[(theirs.atom_name == "CA") & (theirs.chain_id == "A") & ~theirs.hetero]
    np.testing.assert_allclose(model.ca_xyz(), ca.coord, atol=1e-3)
    np.testing.assert_array_equal(model.residue_number, ca.res_id)
    np.testing.assert_array_equal([RESIDUE_TYPES[kind] for kind in model.residue_type], ca.res_name)
    packed = tmp_path / "4cln.pdb.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    np.testing.assert_array_equal(read_model(packed).positions_xyz, model.positions_xyz)


@pytest.mark.shared
def test_every_calmodulin_has_its_bonds(shared_data: Path) -> None:
    """A wrong order of atoms would show in the lengths of N-CA, CA-C and C-O."""
    for path in sorted((shared_data / "calmodulin/seed").iterdir()):
        model = read_model(path)
        n, ca, c, o = model.positions_xyz[model.backbone_index()].transpose(1, 0, 2)
        for first, second, length in ((n, ca, 1.46), (ca, c, 1.52), (c, o, 1.23)):
            assert np.abs(np.linalg.norm(first - second, axis=1) - length).max() < 0.3, path
