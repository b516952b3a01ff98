import gzip

import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.scored_model import Residue, read_scored_models

PDB = """\
ATOM      1  N   SER     1      11.000   2.000   3.000  1.00 10.00           N
ATOM      2  CA ASER     1      12.400   2.000   3.000  0.50 20.00           C
ATOM      3  CA BSER     1      12.500   2.300   3.000  0.50 30.00           C
ATOM      4  HA  SER     1      12.900   2.000   3.000  1.00 10.00           H
ATOM      5  N   GLY A   7A     15.000   2.000   3.000  1.00 10.00           N
HETATM    6 MG    MG A 301      18.000   2.000   3.000  1.00 10.00          MG2+
END
"""


def test_all_but_hydrogens_is_kept_and_a_blank_chain_gets_a_free_name(tmp_path):
    path = tmp_path / "built.pdb.gz"
    path.write_bytes(gzip.compress(PDB.encode()))
    (model,) = read_scored_models(path)
    assert model.name == "built"
    assert model.residues == [Residue("B", 1, "", "SER"), Residue("A", 7, "A", "GLY"), Residue("A", 301, "", "MG")]
    assert model.residue_index.tolist() == [0, 0, 0, 1, 2]
    assert model.positions_xyz[:, 0].tolist() == pytest.approx([11.0, 12.4, 12.5, 15.0, 18.0])
    assert model.structure[0]["A"][1][0].charge == 0
    assert model.first_conformation.tolist() == [True, True, False, True, True]


def test_what_is_written_is_read_again_whole_or_by_name(tmp_path):
    path = tmp_path / "built.pdb"
    path.write_text(PDB)
    (model,) = read_scored_models(path)
    model.write(tmp_path / "whole.cif")
    model.write(tmp_path / "part.cif", {"SER", "MG"})
    (whole,), (part,) = (read_scored_models(tmp_path / name) for name in ("whole.cif", "part.cif"))
    assert sorted(whole.residues) == sorted(model.residues)
    assert [atom.atom.b_iso for atom in whole.structure[0].all()] == [10.0, 20.0, 30.0, 10.0, 10.0]
    assert sorted(each.name for each in part.residues) == ["MG", "SER"]
    assert len(model.residues) == 3


def test_every_model_of_a_file_is_one(tmp_path):
    path = tmp_path / "states.pdb"
    atoms = PDB.replace("END\n", "")
    path.write_text(f"MODEL        1\n{atoms}ENDMDL\nMODEL        2\n{atoms.replace('15.000', '16.000')}ENDMDL\nEND\n")
    first, second = read_scored_models(path)
    assert (first.name, second.name) == ("states#1", "states#2")
    assert (first.positions_xyz[3, 0], second.positions_xyz[3, 0]) == (15.0, 16.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("END\n", "holds no"),
        (PDB.splitlines()[3] + "\nEND\n", "holds no heavy atoms"),
        (PDB.replace("          MG2+\n", "           X\n").replace("MG    MG", " X    UNX"), "has no known element"),
    ],
)
def test_files_that_cannot_be_scored_are_one_line(tmp_path, text, reason):
    path = tmp_path / "broken.pdb"
    path.write_text(text)
    with pytest.raises(StructureError, match=reason) as raised:
        read_scored_models(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
