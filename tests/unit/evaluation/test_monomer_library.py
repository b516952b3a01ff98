import pytest

from cryofound.errors import SourceError
from cryofound.evaluation.monomer_library import molprobity_radius, older_names, restrained_names, validation_library

MONOMER = """\
 SER      CB     C    CH2       0.000
 SER      HB2    H    HCH2      0.000
 SER      HB3    H    HCH2      0.000
 SER      HG     H    HOH1      0.000
 SER      HB3    CB        single      0.980    0.020
"""


def test_hydrogens_of_a_methylene_get_their_older_names_everywhere():
    renamed = older_names(MONOMER)
    assert "HB3" not in renamed
    assert renamed.count("HB2") == 2
    assert renamed.count("HB1") == 1
    assert older_names(renamed.replace("HCH2", "HCH3")) == renamed.replace("HCH2", "HCH3")


@pytest.mark.parametrize(
    ("kind", "element", "before", "after"),
    [("O", "O", "1.520", "1.400"), ("HCR6", "H", "1.200", "1.050"), ("HCH3", "H", "1.200", "1.220"),
     ("CR6", "C", "1.700", "1.750"), ("CT", "C", "1.700", "1.700"), ("NH1", "N", "1.550", "1.550")],
)  # fmt: skip
def test_radii_are_those_of_molprobity(kind, element, before, after):
    line = f" {kind:<8}  12.0110  N      {before}   1.000   .    {element:<2}  2\n"
    assert molprobity_radius(line) == line.replace(before, after)


def test_lines_of_other_tables_stay():
    line = " CT       CT       single   300.000   1.530\n"
    assert molprobity_radius(line) == line


def test_what_was_never_fetched_is_one_line_that_says_what_to_run(tmp_path):
    with pytest.raises(SourceError, match="run `cryofound reference-data fetch`"):
        validation_library(tmp_path)


def test_a_residue_needs_restraints_and_a_description(tmp_path):
    for name in ("mon_lib/a/ALA.cif", "mon_lib/a/ADP.cif", "mon_lib/list/mon_lib_list.cif",
                 "chemical_components/a/data_ALA.cif", "chemical_components/z/data_ZN.cif"):  # fmt: skip
        path = tmp_path / "chem_data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert restrained_names(tmp_path) == {"ALA"}
