"""Further models to begin a build from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryofound.building.fitting import subject
from cryofound.building.series import REFERENCE, build_series
from cryofound.building.starts import read_starts
from cryofound.building.target import make_target
from cryofound.config import BuildConfig
from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.physics.density import render_gaussian
from cryofound.structure.chains import residues_of
from cryofound.structure.writing import write_ensemble
from tests.made_peptides import made_peptide
from tests.made_proteins import made_protein

TURN = Rotation.from_rotvec([0.4, -0.8, 0.3]).as_matrix()


def test_starts_are_laid_on_the_reference_and_lend_what_they_lack(tmp_path: Path):
    reference = made_protein(40)
    kept = residues_of(reference, np.arange(6, 40))
    write_ensemble(tmp_path / "starts.cif", kept, (kept.positions_xyz @ TURN.T + 30.0)[None].repeat(2, 0))
    found = read_starts([tmp_path / "starts.cif"], reference)
    assert len(found) == 2
    assert np.abs(found[0] - reference.positions_xyz).max() < 0.02


def test_another_protein_is_no_start(tmp_path: Path):
    other = made_peptide(["TRP"] * 24)
    write_ensemble(tmp_path / "other.cif", other, other.positions_xyz[None])
    with pytest.raises(StructureError, match=r"other\.cif"):
        read_starts([tmp_path / "other.cif"], made_protein(40))


def test_a_state_is_built_from_the_start_that_is_nearest_to_it():
    model = made_protein(40)
    model = model.moved(model.positions_xyz - model.positions_xyz.mean(0))
    quick = BuildConfig(motion_steps=5, refinement=((1.0, 5, 0.02),))
    what = subject(model, quick)
    away = (model.positions_xyz @ TURN.T).astype(np.float32)
    drawn = render_gaussian(torch.from_numpy(away)[None], what.amplitude[None], Grid.centred(48, 1.6), 5.0)[0]
    target = make_target(DensityMap(drawn.numpy(), Grid.centred(48, 1.6)), 5.0)
    starts = [model.positions_xyz + np.float32(4.0), away]
    (built,) = build_series(what, [target], quick, starts)
    assert built.came_from == REFERENCE - 2
    assert np.sqrt(((built.positions_xyz - away) ** 2).sum(-1).mean()) < 1.0
