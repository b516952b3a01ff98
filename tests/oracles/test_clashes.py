"""Hydrogens and clashes against those of cctbx: reduce2 places them, clashscore2 counts."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from benchmarks.clash_ranking import monomer_library, official_clashscore
from cryofound.physics.clashes import clash_score, clash_topology
from cryofound.physics.hydrogens import TURNING, place_hydrogens, riding_hydrogens
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble

# Hydrogens before any group is turned: [residue number, name, x, y, z] each.
PLACE = """
import json, sys
import libtbx.load_env
libtbx.env.add_repository(sys.argv[1])
from iotbx.data_manager import DataManager
from mmtbx.hydrogens.reduce_hydrogen import place_hydrogens
manager = DataManager()
manager.process_model_file(sys.argv[2])
model = manager.get_model()
model.add_crystal_symmetry_if_necessary()
placed = place_hydrogens(model=model, use_neutron_distances=False, keep_existing_H=False)
placed.run()
atoms = placed.get_model().get_hierarchy().atoms()
hydrogens = [(atom.parent().parent().resseq_as_int(), atom.name.strip(), *atom.xyz)
             for atom in atoms if atom.element.strip() == "H"]
json.dump(hydrogens, open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def library(shared_data, tmp_path_factory):
    return monomer_library(shared_data, tmp_path_factory.mktemp("cctbx") / "library", repair=True)


@pytest.mark.shared
def test_hydrogens_lie_where_reduce_places_them(shared_data, library, tmp_path):
    model = read_model(shared_data / "calmodulin" / "seed" / "4cln.pdb")
    path, answer = tmp_path / "model.cif", tmp_path / "hydrogens.json"
    write_ensemble(path, model, model.positions_xyz[None])
    subprocess.run([sys.executable, "-P", "-c", PLACE, str(library), str(path), str(answer)], check=True)
    theirs: dict[int, dict[str, list[float]]] = {}
    for number, name, *xyz in json.loads(answer.read_text()):
        theirs.setdefault(number, {})[name] = xyz
    table = riding_hydrogens(model)
    parent = table.parent.numpy()
    ours = place_hydrogens(torch.from_numpy(model.positions_xyz)[None].double(), table)[0].numpy()
    deviations = []
    for residue in range(model.n_residues):
        kind = RESIDUE_TYPES[model.residue_type[residue]]
        here = dict(theirs[int(model.residue_number[residue])])
        # HG of serine belongs to OG, HG1 of threonine to OG1
        turning = here.pop(TURNING[kind].replace("O", "H").replace("S", "H"), None) if kind in TURNING else None
        assert (turning is not None) == (kind in TURNING)
        mine = np.flatnonzero(model.residue_index[parent] == residue)
        # some methyl groups of valine are put eclipsed here; reduce2 turns them later
        methyl = np.isin(model.atom_name[parent[mine]], [ATOM_NAMES.index(name) for name in ("CG1", "CG2")])
        mine = mine[~methyl] if kind == "VAL" else mine
        xyz = np.array([place for name, place in here.items() if not name.startswith("HG") or kind != "VAL"])
        assert len(mine) == len(xyz)
        distance = np.linalg.norm(ours[mine][:, None] - xyz[None], axis=-1)
        rows, columns = linear_sum_assignment(distance)
        deviations.extend(distance[rows, columns].tolist())
    # Bond lengths of the library differ from MolProbity's by up to 0.12 A (ASN), 0.05 A at the backbone.
    assert np.sqrt(np.mean(np.square(deviations))) < 0.05
    assert max(deviations) < 0.15


@pytest.mark.shared
@pytest.mark.slow
def test_clashscore_is_close_to_the_official_one(shared_data, library, tmp_path):
    # an old structure with many clashes
    model = read_model(shared_data / "calmodulin" / "seed" / "4cln.pdb", residues=(61, 90))
    official = official_clashscore(model, model.positions_xyz, library, tmp_path)
    ours = float(clash_score(torch.from_numpy(model.positions_xyz)[None], clash_topology(model)))
    assert official > 40
    assert ours == pytest.approx(official, rel=0.15)
