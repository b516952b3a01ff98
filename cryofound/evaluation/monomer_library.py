"""The monomer library that cctbx validates with: the fetched one with MolProbity's radii and names."""

import re
import shutil
from pathlib import Path

from cryofound.catalog.locking import locked
from cryofound.errors import SourceError
from cryofound.evaluation.cctbx_program import run_program
from cryofound.home import default_home
from cryofound.manifest import is_finished, publishing
from cryofound.physics.reference_data import UNPACKED

FOLDER = "validation"  # beside the fetched data


def validation_library(reference_data: Path | None = None) -> Path:
    """The folder that holds chem_data as cctbx is to read it, made from the fetched data the first time (10 s).

    The archive's library has larger radii than MolProbity's (O 1.52 for 1.40 A, aromatic H 1.20 for 1.05 A) and names
    the two hydrogens of a CH2 group as cctbx does not, which then loses one of them; both are set right here (decision
    008). reference_data: default `reference-data` of the home. Raises SourceError if the data was never fetched.
    """
    data = reference_data or default_home() / "reference-data"
    if not is_finished(data / UNPACKED):
        raise SourceError(f"{data}: has no reference data of MolProbity; run `cryofound reference-data fetch`")
    target = data / FOLDER
    if not is_finished(target):
        with locked(target):
            if not is_finished(target):
                _make(data / UNPACKED / "chem_data", target)
    return target


def restrained_names(library: Path) -> set[str]:
    """Names of the residues for which the library has both restraints and a description."""
    chem_data = library / "chem_data"
    restrained = {path.stem for path in (chem_data / "mon_lib").glob("?/*.cif")}
    described = {path.stem.removeprefix("data_") for path in (chem_data / "chemical_components").glob("?/data_*.cif")}
    return restrained & described


def _make(chem_data: Path, target: Path) -> None:
    with publishing(target, made_from=str(chem_data)) as partial:
        shutil.rmtree(partial / "chem_data", ignore_errors=True)
        shutil.copytree(chem_data, partial / "chem_data")
        set_right(partial / "chem_data")
        run_program("rotarama_process.py", (partial,), f"{partial}: rebuilding rotamer tables")


def set_right(chem_data: Path) -> None:
    """Give the monomer library of a chem_data folder MolProbity's radii and cctbx's hydrogen names, in place."""
    monomers = chem_data / "mon_lib"
    for path in monomers.glob("?/*.cif"):
        path.write_text(older_names(path.read_text(errors="replace")))
    energies = monomers / "ener_lib.cif"
    lines = energies.read_text(errors="replace").splitlines(keepends=True)
    energies.write_text("".join(map(molprobity_radius, lines)))


def older_names(monomer: str) -> str:
    """A monomer's description with HB2, HB3 of each CH2 group renamed to HB1, HB2, the PDB's names before 2007."""
    found = set(re.findall(r"^ *\S+ +(\S+) +H +HCH2\b", monomer, re.MULTILINE))
    renamed = {f"{name[:-1]}{last}": f"{name[:-1]}{last - 1}" for name in found for last in (2, 3)}
    if not renamed:
        return monomer
    return re.sub(r"\b(" + "|".join(renamed) + r")\b", lambda match: renamed[match[1]], monomer)


def molprobity_radius(line: str) -> str:
    """A line of the library of atom types with the van der Waals radius of MolProbity's own library.

    Source: Word et al. 1999, doi:10.1006/jmbi.1998.2400, and cctbx's own tests of Probe.
    """
    atom = re.match(r"( (\S+) +[\d.]+ +[ABDNH] +)\d\.\d+( +\S+ +\S+ +(\S+).*\n)", line)
    if atom is None:
        return line
    kind, element = atom[2], atom[4]
    if element == "C" and kind.startswith("CR"):
        radius = 1.75
    elif element == "O":
        radius = 1.40
    elif element == "H":
        radius = 1.05 if kind.startswith(("HCR", "HN", "HO", "HS")) else 1.22
    else:
        return line
    return f"{atom[1]}{radius:.3f}{atom[3]}"
