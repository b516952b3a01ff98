"""Models of a file one at a time: the same as read at once, whatever way their atoms are written."""

import gzip
from dataclasses import fields, replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import residues_of
from cryofound.structure.conformations import read_conformations
from cryofound.structure.reading import read_complex
from cryofound.structure.writing import write_ensemble
from tests.made_complexes import made_ring
from tests.made_proteins import made_protein

MODEL = made_ring(copies=2, residues=30)
POSITIONS = MODEL.positions_xyz + np.arange(5, dtype=np.float32)[:, None, None]


@pytest.fixture
def cif(tmp_path: Path) -> Path:
    write_ensemble(tmp_path / "five.cif", MODEL, POSITIONS)
    return tmp_path / "five.cif"


def same(first: AtomicModel, second: AtomicModel) -> bool:
    return all(np.array_equal(getattr(first, each.name), getattr(second, each.name)) for each in fields(AtomicModel))


def wrapped(path: Path) -> Path:
    """The file with the rows of its atoms broken in two lines, as some programs write them."""
    lines = path.read_text().splitlines()
    broken = [line.replace(" . ", " .\n", 1) if line.startswith("ATOM") else line for line in lines]
    path.write_text("\n".join(broken) + "\n_made.last 1\n")
    return path


def as_pdb(path: Path) -> Path:
    made = path.with_suffix(".pdb")
    gemmi.read_structure(str(path)).write_pdb(str(made))
    return made


def zipped(path: Path) -> Path:
    made = path.with_name(path.name + ".gz")
    made.write_bytes(gzip.compress(path.read_bytes()))
    return made


@pytest.mark.parametrize("way", [lambda path: path, wrapped, as_pdb, zipped, lambda path: zipped(as_pdb(path))])
def test_every_model_is_read_as_read_complex_reads_it(cif, way):
    path = way(cif)
    found = list(read_conformations(path))
    assert len(found) == 5
    for number, each in enumerate(found):
        assert same(each, read_complex(path, model=number))
        assert each.residue_index is found[0].residue_index  # nothing but positions is held again
    np.testing.assert_allclose([each.positions_xyz for each in found], POSITIONS, atol=2e-3)


def test_chains_are_chosen_and_ordered(cif):
    first = next(read_conformations(cif, ["B", "A"]))
    assert same(first, read_complex(cif, ["B", "A"]))


def test_models_may_list_other_atoms(tmp_path):
    whole = made_protein(30)
    part = residues_of(whole, np.arange(5, 30))
    texts = []
    for number, model in enumerate((whole, part, whole)):
        write_ensemble(tmp_path / f"{number}.cif", model, model.positions_xyz[None])
        texts.append(as_pdb(tmp_path / f"{number}.cif").read_text())
    path = tmp_path / "mixed.pdb"
    atoms = ["\n".join(line for line in text.splitlines() if line.startswith(("ATOM", "TER"))) for text in texts]
    path.write_text("".join(f"MODEL {row}\n{text}\nENDMDL\n" for row, text in enumerate(atoms)) + "END\n")
    assert [each.n_residues for each in read_conformations(path)] == [30, 25, 30]


@pytest.mark.shared
def test_real_files_are_read_as_read_complex_reads_them(shared_data):
    boltz = shared_data / "boltz/boltz2_protein_ligand/results/boltz_results_input/predictions/input"
    for path in (
        shared_data / "calmodulin/seed/1exr_final.cif",  # with alternatives and another atom beside each other
        shared_data / "calmodulin/seed/4cln.pdb",
        shared_data / "families/adenylate_kinase/4ake_final.cif.gz",
        boltz / "input_model_0.cif",  # with rows over two lines, and a ligand
    ):
        (found,) = read_conformations(path)
        assert same(found, read_complex(path))


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("", "a.cif", "lists no _atom_site"),
        ("HEADER\n", "a.pdb", "holds no atoms"),
        ("ATOM\n", "a.xyz", "not a structure file by its name"),
        ("ATOM      1  N   ALA A   1      11.0    12.0    no", "a.pdb", "model 1 cannot be read"),
    ],
)
def test_what_is_no_structure_is_said_in_one_line(tmp_path, text, name, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(StructureError, match=reason) as caught:
        list(read_conformations(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_and_positions_that_are_not_finite_are_refused(cif, tmp_path):
    (tmp_path / "cut.cif.gz").write_bytes(zipped(cif).read_bytes()[:2000])
    with pytest.raises(StructureError, match=r"cut.cif.gz: not a readable"):
        list(read_conformations(tmp_path / "cut.cif.gz"))
    write_ensemble(tmp_path / "nan.cif", replace(MODEL), np.full_like(POSITIONS[:1], np.nan))
    with pytest.raises(StructureError, match=r"nan.cif: chain .*: positions that are no numbers"):
        list(read_conformations(tmp_path / "nan.cif"))
    late = POSITIONS[:2].copy()
    late[1] = np.nan
    write_ensemble(tmp_path / "late.cif", replace(MODEL), late)
    with pytest.raises(StructureError, match=r"late.cif: model 2 holds positions that are not finite"):
        list(read_conformations(tmp_path / "late.cif"))
    with pytest.raises(StructureError, match="no such file"):
        list(read_conformations(tmp_path / "none.cif"))
