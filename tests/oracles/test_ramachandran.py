"""The official Ramachandran counts against the published Top8000 grids and another program's dihedral angles."""

from pathlib import Path

import numpy as np
import pytest
from biotite.structure import dihedral
from scipy.interpolate import RegularGridInterpolator

from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel
from cryofound.structure.reading import read_model

# Limits of an outlier: Williams et al. 2018, doi:10.1002/pro.3330.
GRIDS = {
    "general-noGPIVpreP": 0.0005,
    "gly-sym": 0.001,
    "transpro": 0.001,
    "cispro": 0.002,
    "prepro-noGP": 0.001,
    "ileval-nopreP": 0.001,
}


def load_grid(folder: Path, name: str) -> RegularGridInterpolator:
    """Density over (phi, psi), continued by one period on each side; bins that the file leaves out are empty."""
    values = np.zeros((180, 180))
    for phi, psi, value in np.loadtxt(folder / f"rama8000-{name}.data", comments="#"):
        values[int((phi + 179) / 2), int((psi + 179) / 2)] = value
    axis = np.arange(-181.0, 182.0, 2.0)
    return RegularGridInterpolator((axis, axis), np.pad(values, 1, mode="wrap"))


def table_of(name: str, following: str, omega: float) -> str:
    if name == "GLY":
        return "gly-sym"
    if name == "PRO":
        return "cispro" if abs(omega) < 90 else "transpro"
    if following == "PRO":
        return "prepro-noGP"
    return "ileval-nopreP" if name in ("ILE", "VAL") else "general-noGPIVpreP"


def count_outliers(
    model: AtomicModel, positions_xyz: np.ndarray, grids: dict[str, RegularGridInterpolator]
) -> tuple[int, int]:
    n, ca, c, _ = positions_xyz[model.backbone_index()].transpose(1, 0, 2).astype(np.float64)
    bonded = (np.linalg.norm(c[:-1] - n[1:], axis=1) < 2.0) & (model.chain_id[:-1] == model.chain_id[1:])
    names = [RESIDUE_TYPES[row] for row in model.residue_type]
    outliers = evaluated = 0
    for row in range(1, model.n_residues - 1):
        if not (bonded[row - 1] and bonded[row]):
            continue
        phi = np.degrees(dihedral(c[row - 1], n[row], ca[row], c[row]))
        psi = np.degrees(dihedral(n[row], ca[row], c[row], n[row + 1]))
        omega = np.degrees(dihedral(ca[row - 1], c[row - 1], n[row], ca[row]))
        table = table_of(names[row], names[row + 1], omega)
        evaluated += 1
        outliers += int(grids[table]((phi, psi)) < GRIDS[table])
    return outliers, evaluated


@pytest.mark.shared
@pytest.mark.parametrize("name", ["1exr_final.cif", "1rfj_final.cif", "4cln.pdb"])
def test_counts_follow_the_published_tables(shared_data, name):
    folder = shared_data / "molprobity" / "top8000" / "Top8000_ramachandran_pct_contour_grids"
    grids = {table: load_grid(folder, table) for table in GRIDS}
    model = read_model(shared_data / "calmodulin" / "seed" / name)
    # The crystal structure, and two shaken until they have many outliers.
    shaken = model.positions_xyz + np.random.default_rng(3).normal(
        scale=np.array([0.0, 0.1, 0.2])[:, None, None], size=(3, model.n_atoms, 3)
    )
    counts = ramachandran(model, shaken)
    assert counts is not None
    expected = np.array([count_outliers(model, positions, grids) for positions in shaken])
    assert counts.evaluated.tolist() == expected[:, 1].tolist()
    # A residue within a rounding of the limit may fall on either side.
    np.testing.assert_allclose(counts.outliers, expected[:, 0], atol=1)
    assert counts.outliers[0] <= 0.07 * counts.evaluated[0] < counts.outliers[2]


@pytest.mark.shared
def test_good_crystal_structure_has_no_outliers(shared_data):
    # 1EXR: calmodulin at 1.0 A resolution.
    model = read_model(shared_data / "calmodulin" / "seed" / "1exr_final.cif")
    counts = ramachandran(model, model.positions_xyz[None])
    assert counts is not None
    assert counts.outliers.tolist() == [0]
    assert counts.evaluated[0] >= 140
