"""Ensemble metrics of real proteins against other programs: lDDT of biotite, RMSF of MDTraj, CC of cctbx itself."""

import json
import subprocess
import sys
from pathlib import Path

import biotite.structure as struc
import mdtraj
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cryofound.evaluation.coverage import wasserstein
from cryofound.evaluation.ensemble_metrics import Frame, distances_to_states, sample_fluctuations, target_state
from cryofound.evaluation.lddt import contacts, lddt
from cryofound.evaluation.map_model import volume_correlations
from cryofound.evaluation.sample_file import Samples, gather, in_one_frame
from cryofound.maps.mrc import read_map
from cryofound.structure.alignment import matched_atoms
from cryofound.structure.atomic_model import ATOM_NAMES, AtomicModel
from cryofound.structure.matching import matched_residues
from cryofound.structure.normal_modes import sample_modes
from cryofound.structure.reading import read_complex, read_model
from cryofound.structure.writing import write_ensemble

pytestmark = pytest.mark.shared
KINESIN = "maps/box_3j8x/chain_K_box"
ADENYLATE_KINASE = ("families/adenylate_kinase/4ake_final.cif.gz", "families/adenylate_kinase/1ake_final.cif.gz")
CALMODULIN = ("calmodulin/seed/1exr_final.cif", "calmodulin/seed/5a2h_final.cif")

FIVE_CC = """
import json, sys
import iotbx.pdb
from iotbx.map_manager import map_manager
from mmtbx.maps.correlation import five_cc
density = map_manager(sys.argv[1])
found = []
for path in sys.argv[3:]:
    model = iotbx.pdb.input(path).construct_hierarchy()
    structure = model.extract_xray_structure(crystal_symmetry=density.crystal_symmetry())
    structure.scattering_type_registry(table="electron")
    found.append(five_cc(density.map_data(), structure, float(sys.argv[2])).result.cc_volume)
print(json.dumps(found))
"""


def moved_samples(folder: Path, model: AtomicModel, n: int = 30) -> Samples:
    """Samples along the normal modes of a model, in its frame."""
    drawn = sample_modes(model, n, 10, 2.0, seed=1)
    samples = gather("samples", ((str(row), model.moved(each)) for row, each in enumerate(drawn)), folder / "samples")
    return in_one_frame([samples], model)[0]


def as_biotite(model: AtomicModel, atoms: np.ndarray) -> struc.AtomArray:
    array = struc.AtomArray(len(atoms))
    array.coord = model.positions_xyz[atoms]
    array.res_id = model.residue_index[atoms] + 1
    array.chain_id[:] = "A"
    array.res_name[:] = "ALA"
    array.atom_name = np.array(ATOM_NAMES)[model.atom_name[atoms]]
    return array


@pytest.mark.parametrize("pair", [ADENYLATE_KINASE, CALMODULIN])
def test_lddt_and_rmsd_are_those_of_biotite(shared_data, tmp_path, pair):
    model, state = (read_model(shared_data / name) for name in pair)
    samples = moved_samples(tmp_path, model)
    found = distances_to_states(samples, [target_state(model, state, "state")], Frame.of(model))
    atoms = matched_atoms(model, state, matched_residues(model, state))
    positions = samples.part(0, len(samples))
    for prefix, chosen in (("", atoms), ("ca_", atoms[model.atom_name[atoms[:, 0]] == ATOM_NAMES.index("CA")])):
        target, models = as_biotite(state, chosen[:, 1]), positions[:, chosen[:, 0]]
        np.testing.assert_allclose(found[f"{prefix}lddt"][:, 0], struc.lddt(target, models), atol=1e-4)
        fitted = struc.superimpose(target.coord, models)[0]
        np.testing.assert_allclose(found[f"{prefix}rmsd"][:, 0], struc.rmsd(target.coord, fitted), atol=1e-4)


def test_lddt_of_a_state_against_another_is_that_of_biotite(shared_data):
    model, state = (read_model(shared_data / name) for name in ADENYLATE_KINASE)
    pairs = matched_atoms(model, state, matched_residues(model, state))
    near = contacts(state.positions_xyz[pairs[:, 1]], state.residue_index[pairs[:, 1]])
    ours = lddt(model.positions_xyz[None, pairs[:, 0]], near)[0]
    theirs = struc.lddt(as_biotite(state, pairs[:, 1]), model.positions_xyz[pairs[:, 0]])
    assert ours == pytest.approx(float(theirs), abs=1e-4)
    assert 0.5 < ours < 0.95  # 7 A apart, with rigid domains


@pytest.mark.parametrize("name", [ADENYLATE_KINASE[0], CALMODULIN[0]])
def test_fluctuations_are_those_of_mdtraj(shared_data, tmp_path, name):
    model = read_model(shared_data / name)
    samples = moved_samples(tmp_path, model)
    ca = samples.part(0, len(samples))[:, model.backbone_index()[:, 1]]
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(ca.shape[1]):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain))
    trajectory = mdtraj.Trajectory(ca / 10, topology)  # in nanometres
    mean = trajectory[0]
    for _ in range(20):
        trajectory.superpose(mean)
        mean = mdtraj.Trajectory(trajectory.xyz.mean(0), topology)
    theirs = 10 * mdtraj.rmsf(trajectory, mean)
    ours = sample_fluctuations(samples, Frame.of(model), None)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert ours.max() > 1


def test_transport_is_the_assignment_of_scipy_where_samples_and_states_are_as_many(shared_data, tmp_path):
    model = read_model(shared_data / CALMODULIN[0])
    samples = moved_samples(tmp_path, model, n=4)
    names = ("4cln.pdb", "5a2h_final.cif", "1up5_final.cif", "1rfj_final.cif")
    states = [target_state(model, read_model(shared_data / "calmodulin/seed" / name), name) for name in names]
    distances = distances_to_states(samples, states, Frame.of(model))["rmsd"]
    rows, columns = linear_sum_assignment(distances**2)
    expected = np.sqrt((distances[rows, columns] ** 2).mean())
    assert wasserstein(distances, np.ones(4)) == pytest.approx(expected, abs=1e-4)


def test_volume_correlations_are_those_of_five_cc(shared_data, tmp_path):
    model = read_complex(shared_data / f"{KINESIN}_complete.pdb.gz")
    positions = np.concatenate([model.positions_xyz[None], sample_modes(model, 2, 10, 1.5, seed=2)])
    positions = positions.astype(np.float64).round(3)  # as the files hold them: a voxel more at the rim is 0.0004
    density = read_map(shared_data / f"{KINESIN}.ccp4")
    (tmp_path / "scratch").mkdir()
    ours, b_factors = volume_correlations(density, model, positions, 5.0, tmp_path / "scratch")
    files = []
    for row, (each, b_factor) in enumerate(zip(positions, b_factors, strict=True)):
        files.append(tmp_path / f"{row}.cif")
        write_ensemble(files[-1], model, each[None], np.full(model.n_atoms, b_factor))
    done = subprocess.run(
        [sys.executable, "-P", "-c", FIVE_CC, shared_data / f"{KINESIN}.ccp4", "5.0", *files],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours, json.loads(done.stdout.strip().splitlines()[-1]), atol=1e-4)
    assert ours[0] > ours[1:].max()
