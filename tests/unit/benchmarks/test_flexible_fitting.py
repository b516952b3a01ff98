"""The peer that our builds are compared with: its map's force is the map's slope, and it does go into a map."""

import numpy as np
import pytest

from benchmarks import flexible_fitting
from benchmarks.flexible_fitting import write_protein
from cryofound.building.deposit import read_reference_file
from cryofound.errors import SourceError

openmm = pytest.importorskip("openmm", reason="the peer is made of OpenMM: pip install openmm pdbfixer")

from benchmarks import flexible_fitting_process as peer  # noqa: E402 (only with OpenMM)

CENTRE = np.array([5.0, -3.0, 8.0])
NO_PIECES = peer.Pieces(np.zeros((0, 3)), np.zeros(0, dtype=int), np.zeros(0, dtype=int))


def gaussian(at_xyz: np.ndarray, centre_xyz: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((at_xyz - centre_xyz) ** 2).sum(-1) / sigma**2)


def drawn(centres_xyz: np.ndarray, sigma: float, voxel_size: float = 1.0, reach: float = 12.0) -> "peer.Density":
    """Gaussians on a grid whose axes all differ."""
    low, high = centres_xyz.min(0) - reach, centres_xyz.max(0) + reach + [0.0, 2.0, 5.0]
    x, y, z = (np.arange(first, last, voxel_size) for first, last in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    return peer.Density(np.sum([gaussian(grid, centre, sigma) for centre in centres_xyz], axis=0), voxel_size, low)


def energy_and_force(force, positions_xyz: np.ndarray, **parameters: float) -> tuple[float, np.ndarray]:
    """kJ/mol and kJ/mol/angstrom of one force alone."""
    system = openmm.System()
    for _ in positions_xyz:
        system.addParticle(12.0)
    system.addForce(force.__copy__())
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(0.1 * positions_xyz)
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, 0.1 * state.getForces(asNumpy=True)._value


def test_force_of_a_map_is_the_slope_of_its_density_times_mass_and_scale():
    sigma, scale, mass = 2.5, 3.0, 14.0
    force = peer.density_force(drawn(CENTRE[None], sigma), [mass, 0.0])
    at = np.stack([CENTRE + [1.3, -0.4, 2.2], CENTRE])
    energy, pull = energy_and_force(force, at, density_scale=scale)
    density = gaussian(at[0], CENTRE, sigma)
    assert energy == pytest.approx(-scale * mass * density, rel=2e-3)
    np.testing.assert_allclose(pull[0], scale * mass * density * (CENTRE - at[0]) / sigma**2, rtol=1e-2)
    assert not pull[1].any()  # an atom without mass is not seen
    step = 1e-3 * np.eye(3)
    for axis in range(3):
        ahead, behind = (
            energy_and_force(force, np.stack([at[0] + sign * step[axis], at[1]]), density_scale=scale)[0]
            for sign in (1, -1)
        )
        assert (behind - ahead) / 2e-3 == pytest.approx(pull[0, axis], rel=1e-3)


def test_a_blurred_map_is_wider_as_variances_add_and_as_high():
    potential = drawn(CENTRE[None], 2.0, 0.8).potential().blurred(1.5)
    z, y, x = (np.arange(size) * 0.8 for size in potential.values_zyx.shape)
    axes = [axis + origin for axis, origin in zip((z, y, x), potential.origin_xyz[::-1], strict=True)]
    total = potential.values_zyx.sum()
    for axis, centre, others in zip(axes, CENTRE[::-1], ((1, 2), (0, 2), (0, 1)), strict=True):
        profile = potential.values_zyx.sum(others) / total
        mean = profile @ axis
        assert mean == pytest.approx(centre, abs=1e-2)
        assert profile @ (axis - mean) ** 2 == pytest.approx(2.0**2 + 1.5**2, rel=1e-2)
    assert potential.values_zyx.max() == 1
    assert potential.values_zyx[0].max() < 1e-3  # nothing is cut off at the border


def test_solvent_has_no_potential():
    noise = np.random.default_rng(0).normal(scale=0.02, size=(20, 20, 20))
    noise[8:12, 8:12, 8:12] += 1.0
    values = peer.Density(noise + 5.0, 1.0, np.zeros(3)).potential().values_zyx
    assert values.max() == 1
    assert np.median(values[values > 0]) < 0.05
    assert (values == 0).mean() > 0.5


def test_springs_hold_what_is_near_and_let_go_of_what_is_far():
    at = np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 0.0]])
    pairs, spring, give = np.array([[0, 1]]), 300.0, 1.0
    force = peer.network_force(at, pairs, [spring], give)
    assert energy_and_force(force, at)[0] == pytest.approx(0, abs=1e-9)
    near, _ = energy_and_force(force, at + [[0, 0, 0], [0.05, 0, 0]])
    assert near == pytest.approx(0.5 * spring * 0.005**2, rel=5e-3)
    far, pull = energy_and_force(force, at + [[0, 0, 0], [30.0, 0, 0]])
    assert far < 0.5 * spring * 0.1**2  # of harmonic springs: 1350
    assert abs(pull).max() < 1e-3


def test_network_joins_near_residues_and_stiffly_what_is_of_one_ligand():
    positions = np.array([[0.0, 0, 0], [6.0, 0, 0], [30.0, 0, 0], [33.0, 0, 0], [34.5, 0, 0], [34.5, 1, 0]])
    pieces = peer.Pieces(positions[3:], np.array([6, 8, 12]), np.array([0, 0, 1]))
    pairs, springs = peer.network(np.array([0, 1, 2]), pieces, positions, peer.Settings(spring=100.0, reach=10.0))
    found = {tuple(sorted(pair)): spring for pair, spring in zip(pairs.tolist(), springs.tolist(), strict=True)}
    assert found == {
        (0, 1): 100.0, (2, 3): 100.0, (2, 4): 100.0, (2, 5): 100.0, (3, 5): 100.0, (4, 5): 100.0,
        (3, 4): peer.PIECE_SPRING,
    }  # fmt: skip


def test_a_peptide_goes_into_its_map(tmp_path):
    helix = alanine_helix(10)
    write_helix(tmp_path / "protein.pdb", helix)
    shift = np.array([1.2, -0.9, 0.8])
    density = drawn((helix + shift).reshape(-1, 3), 1.2)
    quick = peer.Settings(force_scale=8.0, stages=((2.0, 1.0), (0.0, 1.0)), cooling=0.4, last_minimisation=100)
    found, pieces = peer.fitted(tmp_path / "protein.pdb", NO_PIECES, density, quick)
    wanted = (helix + shift).reshape(-1, 3)
    assert pieces.shape == (0, 3)
    assert np.sqrt(((found - wanted) ** 2).sum(-1).mean()) < 0.5 * np.linalg.norm(shift)


def test_protein_is_written_in_stretches_without_gaps_and_without_ligands(tmp_path):
    helix = alanine_helix(12)
    write_helix(tmp_path / "reference.pdb", np.delete(helix, slice(5, 8), axis=0), ligand=helix[-1, 1] + 8.0)
    file = read_reference_file(tmp_path / "reference.pdb")
    model = file.placed(file.model.positions_xyz, file.passengers().positions_xyz)
    write_protein(tmp_path / "protein.pdb", file, model)
    lines = (tmp_path / "protein.pdb").read_text().splitlines()
    lines = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    assert {line[17:20] for line in lines} == {"ALA"}
    assert [line[21] for line in lines] == ["a"] * 25 + ["b"] * 20
    _, positions, asked = peer.prepared(tmp_path / "protein.pdb", 0)
    in_file = np.array([[float(line[start : start + 8]) for start in (30, 38, 46)] for line in lines])
    np.testing.assert_allclose(positions[asked], in_file, atol=2e-3)


def test_what_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match="no case kinesine; there are kinesin, tubulin"):
        flexible_fitting.measure(tmp_path, ["kinesine"])
    monkeypatch.setattr(flexible_fitting, "NEEDED", ("openmm", "no_such_package"))
    with pytest.raises(SourceError, match="needs no_such_package, which the peer is made of; pip install"):
        flexible_fitting.measure(tmp_path, ["kinesin"])


def alanine_helix(residues: int) -> np.ndarray:
    """(residue, 5, 3) N, CA, C, O, CB of an ideal helix, by bond lengths, angles and dihedrals (phi -57, psi -47)."""
    chain = [np.array([0.0, 0, 0]), np.array([1.458, 0, 0]), np.array([2.009, 1.42, 0])]
    turns = ((1.329, 116.6, -47.0), (1.458, 121.7, 180.0), (1.525, 111.0, -57.0))
    for _ in range(residues):  # one more N than there are residues, for the last O
        for length, angle, dihedral in turns:
            chain.append(placed(chain[-3:], length, angle, dihedral))
    xyz = []
    for row in range(residues):
        n, ca, c, following = chain[3 * row : 3 * row + 4]
        xyz.append([n, ca, c, placed([n, ca, c], 1.231, 120.4, 133.0), placed([c, n, ca], 1.53, 110.5, -122.6)])
        assert np.linalg.norm(following - c) < 1.4
    return np.array(xyz)


def placed(three_xyz: list[np.ndarray], length: float, angle: float, dihedral: float) -> np.ndarray:
    """The atom that is bonded to the last of three, at an angle and a dihedral in degrees."""
    first, second, third = three_xyz
    along = (third - second) / np.linalg.norm(third - second)
    normal = np.cross(second - first, along)
    normal /= np.linalg.norm(normal)
    angle, dihedral = np.radians([180.0 - angle, dihedral])
    across = np.cos(dihedral) * np.cross(normal, along) + np.sin(dihedral) * normal
    return third + length * (np.cos(angle) * along + np.sin(angle) * across)


def write_helix(path, helix: np.ndarray, ligand: np.ndarray | None = None) -> None:
    """PDB of alanines (residue, 5, 3), after them a zinc where one is given."""
    lines = [
        f"ATOM  {5 * row + column + 1:5d}  {name:<3s} ALA A{row + 1:4d}    "
        f"{''.join(f'{value:8.3f}' for value in xyz)}  1.00 20.00          {name[0]:>2s}"
        for row, residue in enumerate(helix)
        for column, (name, xyz) in enumerate(zip(("N", "CA", "C", "O", "CB"), residue, strict=True))
    ]
    if ligand is not None:
        place = "".join(f"{value:8.3f}" for value in ligand)
        lines.append(f"HETATM  900 ZN    ZN A 900    {place}  1.00 20.00          ZN")
    path.write_text("\n".join([*lines, "END", ""]))
