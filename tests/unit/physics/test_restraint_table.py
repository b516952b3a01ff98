"""The table of ideal values: its bonds are those of chemistry, and the shipped one is what its source gives."""

from pathlib import Path

import pytest
from biotite.structure.info import residue as dictionary_residue

from cryofound.physics.restraint_table import derive_restraints, ideal_values, table_text
from cryofound.structure.atomic_model import RESIDUE_TYPES
from cryofound.structure.reading import read_model
from tests.made_peptides import made_peptide

TABLE = Path(__file__).parents[3] / "cryofound" / "physics" / "tables" / "restraints.json"


@pytest.mark.parametrize("kind", RESIDUE_TYPES[:20])
def test_measured_bonds_are_those_of_the_chemical_dictionary(kind: str):
    drawn = dictionary_residue(kind)
    heavy = {
        frozenset((str(drawn.atom_name[a]), str(drawn.atom_name[b])))
        for a, b, _ in drawn.bonds.as_array()
        if "H" not in drawn.element[[a, b]] and "OXT" not in drawn.atom_name[[a, b]]
    }
    rows = [row.split() for row in ideal_values()[kind]]
    assert {frozenset(row) for row in rows if len(row) == 2} == heavy
    # each atom with k neighbours has k (k - 1) / 2 angles
    degree = [sum(name in bond for bond in heavy) for name in {name for bond in heavy for name in bond}]
    assert sum(len(row) == 3 for row in rows) == sum(k * (k - 1) // 2 for k in degree)


@pytest.mark.parametrize(
    ("kind", "flat"), [("PHE", 7), ("TYR", 8), ("TRP", 10), ("HIS", 6), ("ARG", 5), ("ASP", 4), ("GLN", 4), ("LYS", 0)]
)
def test_planar_rows_reach_every_atom_of_a_planar_group(kind: str, flat: int):
    rows = [row.split() for row, value in ideal_values()[kind].items() if len(row.split()) == 4 and value[0] == 0]
    assert len({name for row in rows for name in row}) == flat


def test_medians_of_one_structure_are_its_own_values():
    # One residue of a type: its lengths are the medians; too few to trust, the spread is the largest.
    model = made_peptide(["ALA", "GLY"])
    groups = derive_restraints([model])
    assert set(groups) == {"ALA", "GLY", "terminus", "peptide_glycine", "UNK"} - {"terminus"}
    assert groups["peptide_glycine"]["C +N"] == (pytest.approx(1.334, abs=1e-4), 0.03, 1)
    assert groups["peptide_glycine"]["CA C +N"] == (pytest.approx(116.7, abs=0.01), 3.0, 1)
    assert groups["GLY"]["N CA C"] == (pytest.approx(111.0, abs=0.01), 3.0, 1)


@pytest.mark.shared
@pytest.mark.slow
def test_the_shipped_table_is_what_the_source_gives(shared_data: Path):
    paths = [
        *shared_data.glob("families/*/*.gz"),
        *shared_data.glob("calmodulin/family/*.gz"),
        *shared_data.glob("calmodulin/seed/*.*"),
    ]
    groups = derive_restraints([read_model(path) for path in sorted(paths)])
    assert table_text(groups) == TABLE.read_text()
