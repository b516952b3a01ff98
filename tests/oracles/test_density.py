"""The electron form against gemmi's density calculator."""

import gemmi
import numpy as np
import pytest
import torch

from cryofound.maps.density_map import Grid
from cryofound.physics.density import ELECTRON_CUTOFF, render_electron


@pytest.mark.shared
@pytest.mark.parametrize(("voxel_size", "blur"), [(1.05, 0.0), (0.7, 12.0)])
def test_haemoglobin_is_the_density_of_gemmi_at_the_same_cut_off(shared_data, voxel_size, blur):
    structure = gemmi.read_structure(str(shared_data / "maps/emd3488_5ni1/5ni1_updated.cif.gz"))
    structure.remove_hydrogens()
    atoms = [site.atom for site in structure[0].all()]
    positions = np.array([atom.pos.tolist() for atom in atoms])
    shift = positions.min(0) - 10
    edge = int((positions.max(0) - shift + 10).max() / voxel_size)
    for atom, position in zip(atoms, positions, strict=True):
        atom.pos = gemmi.Position(*(position - shift))
        atom.occ = 0.5 + 0.5 * (atom.serial % 2)
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_unit_cell(gemmi.UnitCell(*[edge * voxel_size] * 3, 90, 90, 90))
    calculator.grid.set_size(edge, edge, edge)
    calculator.cutoff, calculator.blur = ELECTRON_CUTOFF, blur
    calculator.add_model_density_to_grid(structure[0])
    theirs = np.array(calculator.grid.array).transpose(2, 1, 0)
    ours = render_electron(
        torch.from_numpy((positions - shift).astype(np.float32))[None],
        torch.tensor([[atom.element.atomic_number for atom in atoms]]),
        torch.tensor([[atom.b_iso for atom in atoms]]),
        torch.tensor([[atom.occ for atom in atoms]]),
        Grid((edge, edge, edge), voxel_size, (0.0, 0.0, 0.0)),
        blur,
    )[0].numpy()
    assert np.linalg.norm(ours - theirs) <= 3e-4 * np.linalg.norm(theirs)
