"""Scores of real models against cctbx run directly on the files, and against what is published."""

import json
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from cryofound.evaluation.map_model import map_model_score
from cryofound.evaluation.monomer_library import validation_library
from cryofound.evaluation.q_score import q_scores
from cryofound.evaluation.scored_model import ScoredModel, read_scored_models
from cryofound.evaluation.validation import clash_score, molprobity_score, torsion_score
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map
from cryofound.physics.clashes import clash_score as our_clashscore
from cryofound.physics.clashes import clash_topology
from cryofound.physics.reference_data import fetch
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble

pytestmark = pytest.mark.shared

# map, model, resolution (angstrom), whether the B-factors are fitted, and the cc_mask found
KINESIN = ("box_3j8x/chain_K_box.ccp4", "box_3j8x/chain_K_box_complete.pdb.gz")
REAL = [
    pytest.param(
        "emd3488_5ni1/emd_3488.mrc", "emd3488_5ni1/5ni1_updated.cif.gz", 3.2, False, (0.86, 0.88),
        marks=pytest.mark.slow,
    ),
    ("box_5ly6/5ly6_box.ccp4", "box_5ly6/5ly6_box_complete.pdb.gz", 4.5, True, (0.71, 0.75)),
    (*KINESIN, 5.0, True, (0.80, 0.84)),
]  # fmt: skip

# The command of Phenix on the files themselves, whose maps have their origin at zero; hydrogens left out.
CORRELATIONS = """
import json, sys
import iotbx.pdb
from iotbx.map_manager import map_manager
from mmtbx.maps.correlation import five_cc
density = map_manager(sys.argv[1])
assert max(density.map_data().origin()) == 0
model = iotbx.pdb.input(sys.argv[2]).construct_hierarchy()
model.remove_hd()
structure = model.extract_xray_structure(crystal_symmetry=density.crystal_symmetry())
structure.scattering_type_registry(table="electron")
found = five_cc(density.map_data(), structure, float(sys.argv[3]), compute_cc_box=True).result
print(json.dumps({name: getattr(found, name) for name in ("cc_mask", "cc_volume", "cc_peaks", "cc_box")}))
"""

Q_SCORES = """
import json, sys, warnings
from iotbx.data_manager import DataManager
from iotbx.map_model_manager import map_model_manager
from cctbx.maptbx.qscore import calc_qscore
warnings.simplefilter("ignore")
manager = DataManager()
manager.process_real_map_file(sys.argv[1])
manager.process_model_file(sys.argv[2])
both = map_model_manager(
    model=manager.get_model(), map_manager=manager.get_real_map(), ignore_symmetry_conflicts=True
)
shells = [0.1 * number for number in range(1, 21)]
print(json.dumps(list(calc_qscore(both, shells=shells, n_probes=32)["qscore_per_atom"])))
"""

SCORE = """
import sys
from mmtbx.validation.utils import molprobity_score
print(molprobity_score(*map(float, sys.argv[1:])))
"""


def told_by_cctbx(program: str, *arguments: object):
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def read(shared_data: Path, map_file: str, model_file: str) -> tuple[DensityMap, ScoredModel]:
    (model,) = read_scored_models(shared_data / "maps" / model_file)
    return read_map(shared_data / "maps" / map_file), model


@pytest.mark.parametrize(("map_file", "model_file", "resolution", "fitted", "expected"), REAL)
def test_real_models_score_as_phenix_would_and_as_expected(
    shared_data, tmp_path, map_file, model_file, resolution, fitted, expected
):
    density, model = read(shared_data, map_file, model_file)
    found = map_model_score(density, model, resolution, tmp_path)
    assert found.fitted == fitted
    assert expected[0] < found.cc_mask < expected[1]
    assert found.cc_mask >= found.cc_mask_as_given
    path = model.path
    if fitted:
        path = tmp_path / "fitted.cif"
        structure = model.structure.clone()
        for each, b_factor in zip(structure[0].all(), found.b_factor, strict=True):
            each.atom.b_iso = b_factor
        structure.make_mmcif_document().write_file(str(path))
    theirs = told_by_cctbx(CORRELATIONS, shared_data / "maps" / map_file, path, resolution)
    for name, value in theirs.items():
        assert getattr(found, name) == pytest.approx(value, abs=0.001), name


def test_a_map_that_lies_elsewhere_with_its_model_scores_the_same(shared_data, tmp_path):
    density, model = read(shared_data, *KINESIN)
    moved = model.structure.clone()
    for each in moved[0].all():
        each.atom.pos += gemmi.Position(100, -50, 30)
    origin = tuple(np.array(density.grid.origin_xyz) + [100, -50, 30])
    elsewhere = DensityMap(density.values_zyx, Grid(density.grid.shape_zyx, density.grid.voxel_size, origin))
    (tmp_path / "a").mkdir()
    here = map_model_score(density, model, 5.0, tmp_path, keep_b=True)
    there = map_model_score(elsewhere, ScoredModel("moved", model.path, moved), 5.0, tmp_path / "a", keep_b=True)
    assert there.cc_mask == pytest.approx(here.cc_mask, abs=1e-4)
    assert there.shells.correlation == pytest.approx(here.shells.correlation, abs=1e-3)


def test_q_scores_are_those_of_cctbx_whose_shells_weigh_by_their_points(shared_data, tmp_path):
    density, model = read(shared_data, *KINESIN)
    model.write(tmp_path / "model.cif")
    ours = q_scores(density, model.positions_xyz)
    theirs = np.array(told_by_cctbx(Q_SCORES, shared_data / "maps" / KINESIN[0], tmp_path / "model.cif"))
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.02)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_molprobity_score_is_that_of_cctbx():
    for values in ((5.0, 3.0, 92.0), (60.0, 0.5, 99.5), (0.0, 0.0, 100.0), (17.3, 12.0, 60.0)):
        assert molprobity_score(*values) == pytest.approx(told_by_cctbx(SCORE, *values), rel=1e-9)


@pytest.mark.slow
def test_rotamers_and_clashes_are_judged_with_the_reference_data(shared_data, tmp_path):
    fetch(tmp_path / "data", shared_data)
    library = validation_library(tmp_path / "data")
    piece = read_model(shared_data / "calmodulin" / "seed" / "4cln.pdb", residues=(61, 80))
    write_ensemble(tmp_path / "piece.cif", piece, piece.positions_xyz[None])
    (model,) = read_scored_models(tmp_path / "piece.cif")
    found = clash_score(model, library, tmp_path)
    ours = float(our_clashscore(torch.from_numpy(piece.positions_xyz)[None], clash_topology(piece)))
    assert found.clashscore == pytest.approx(ours, rel=0.2)
    assert found.clashscore > 20
    assert found.left_out == ()
    assert set(found.clashes) <= set(model.residues)
    torsion = torsion_score(model, library, tmp_path)
    assert torsion.rota is not None
    judged = {residue.name for residue in torsion.rota}
    assert judged == {residue.name for residue in model.residues} - {"GLY", "ALA"}
