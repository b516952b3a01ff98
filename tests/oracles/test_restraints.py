"""Covalent geometry against other programs: CCP4's monomer library, gemmi's topology, cctbx cbetadev and omegalyze."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from cryofound.physics.cbeta import OUTLIER, cbeta_deviation, cbetas
from cryofound.physics.omega import TWISTED, omega_deviation, peptides
from cryofound.physics.restraint_table import ideal_values
from cryofound.physics.restraints import restraint_rms, restraint_rows
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble

LINKS = {
    "peptide": "TRANS",
    "peptide_glycine": "TRANS",
    "peptide_trans_proline": "PTRANS",
    "peptide_cis_proline": "PCIS",
    "disulfide": "SS",
}
# The library has one value for cis and trans proline, and its angles at N add up to 356.5 degrees, not to 360.
JUDGED = {("peptide_trans_proline", "C +N +CD"), ("peptide_cis_proline", "C +N +CA")}
# cctbx crashes in a process that has imported torch or gemmi.
VALIDATION = """
import json, sys
import iotbx.pdb
from mmtbx.validation.cbetadev import cbetadev
from mmtbx.validation.omegalyze import omegalyze
root = iotbx.pdb.input(sys.argv[1]).construct_hierarchy()
deviations = {each.resseq.strip(): each.deviation for each in cbetadev(root, quiet=True).results}
omegas = {each.resseq.strip(): each.omega_type for each in omegalyze(root, nontrans_only=False, quiet=True).results}
print(json.dumps([deviations, omegas]))
"""


@pytest.fixture(scope="module")
def monomer_library(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("monomers")
    with tarfile.open(shared_data / "molprobity" / "chem_data" / "chem_data_min.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "chem_data" / "mon_lib"


def library_values(library: Path, group: str) -> dict[tuple[int, frozenset[str], str], float]:
    """Ideal values of the monomer library by size, outer atoms and centre; + marks the second residue of a link."""
    if group in LINKS:
        block = gemmi.cif.read(str(library / "list" / "mon_lib_list.cif")).find_block(f"link_{LINKS[group]}")
        side, prefix = "atom_{}_comp_id", "_chem_link_"
    else:
        document = gemmi.cif.read(str(library / group[0].lower() / f"{group}.cif"))
        block, side, prefix = document.find_block(f"comp_{group}") or document[-1], "atom_id_{}", "_chem_comp_"
    values = {}
    for size, kind, value in ((2, "bond", "value_dist"), (3, "angle", "value_angle")):
        tags = [tag.format(number) for tag in (side, "atom_id_{}") for number in range(1, size + 1)]
        for row in block.find(f"{prefix}{kind}.", [*tags, value]):
            names = [("+" if row[i] == "2" else "") + row[size + i] for i in range(size)]
            centre = names[1] if size == 3 else ""
            values[size, frozenset(names) - {centre}, centre] = float(row[2 * size])
    return values


@pytest.mark.shared
def test_ideal_values_are_those_of_the_monomer_library(monomer_library: Path):
    compared, apart = 0, set()
    for group in (*RESIDUE_TYPES[:20], *LINKS):
        library = library_values(monomer_library, group)
        for row, (ideal, _, _) in ideal_values()[group].items():
            names = row.split()
            if len(names) == 4:
                continue
            centre = names[1] if len(names) == 3 else ""
            theirs = library[len(names), frozenset(names) - {centre}, centre]
            compared += 1
            if abs(ideal - theirs) > {2: 0.012, 3: 2.0}[len(names)]:
                apart.add((group, row))
    assert compared > 300
    assert apart == JUDGED


def read_shaken(shared_data: Path, name: str, shake: float, folder: Path) -> tuple[AtomicModel, torch.Tensor]:
    """A model without OXT, its positions shaken by `shake` angstrom per axis, and the same as folder/model.cif."""
    model = read_model(shared_data / name)
    last = model.atom_name != ATOM_NAMES.index("OXT")
    arrays = (model.positions_xyz, model.atom_name, model.element, model.residue_index)
    model = AtomicModel(*(each[last] for each in arrays), model.residue_type, model.residue_number, model.chain_id)
    noise = np.random.default_rng(0).normal(0, 1, model.positions_xyz.shape)
    positions = (model.positions_xyz + shake * noise).round(3)
    write_ensemble(folder / "model.cif", model, positions[None])
    return model, torch.from_numpy(positions)[None]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shake"),
    [
        ("calmodulin/seed/1exr_final.cif", 0.1),
        ("families/ras/3lo5_final.cif.gz", 0.0),  # four cis peptides, not of proline
        ("families/gpcr_class_a/predicted/AF2_adrb1_human.pdb.gz", 0.0),  # disordered ends: cis and twisted
    ],
)
def test_cbeta_deviations_and_omega_classes_agree_with_cctbx(
    shared_data: Path, tmp_path: Path, name: str, shake: float
):
    model, positions = read_shaken(shared_data, name, shake, tmp_path)
    command = [sys.executable, "-c", VALIDATION, str(tmp_path / "model.cif")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    deviations, omegas = json.loads(finished.stdout.splitlines()[-1])
    number = [str(each) for each in model.residue_number.tolist()]

    betas = cbetas(model)
    ours = dict(zip((number[row] for row in betas.residue), cbeta_deviation(positions, betas)[0].tolist(), strict=True))
    assert ours == pytest.approx(deviations, abs=1e-5)
    assert sum(each >= OUTLIER for each in ours.values()) == sum(each >= OUTLIER for each in deviations.values())

    links = peptides(model.moved(positions[0].numpy()))
    twisted = omega_deviation(positions, links)[0].abs() >= TWISTED
    kind = torch.where(twisted, 2, links.cis.long())  # omegalyze: 0 trans, 1 cis, 2 twisted
    assert dict(zip((number[row] for row in links.residue), kind.tolist(), strict=True)) == omegas


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shake"), [("calmodulin/seed/1exr_final.cif", 0.1), ("families/ras/3lo5_final.cif.gz", 0.0)]
)
def test_deviations_of_bonds_and_angles_agree_with_gemmi(
    shared_data: Path, monomer_library: Path, tmp_path: Path, name: str, shake: float
):
    model, positions = read_shaken(shared_data, name, shake, tmp_path)
    structure = gemmi.read_structure(str(tmp_path / "model.cif"))
    library = gemmi.read_monomer_lib(str(monomer_library), structure[0].get_all_residue_names())
    topology = gemmi.prepare_topology(structure, library, h_change=gemmi.HydrogenChange.Remove)
    bonds = np.array([bond.calculate() - bond.restr.value for bond in topology.bonds])
    angles = np.array([np.degrees(angle.calculate()) - angle.restr.value for angle in topology.angles])
    ours = restraint_rows(model)
    assert (len(ours.bonds.target), len(ours.angles.target)) == (len(bonds), len(angles))
    assert restraint_rms(positions, ours.bonds).item() == pytest.approx(np.sqrt((bonds**2).mean()), abs=0.001)
    assert restraint_rms(positions, ours.angles).item() == pytest.approx(np.sqrt((angles**2).mean()), abs=0.1)
