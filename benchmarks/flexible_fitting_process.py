"""All-atom flexible fitting by molecular dynamics, as a program of its own: `flexible_fitting_process.py JOB`.

The peer that `flexible_fitting` compares with: MDFF (Trabuco et al. 2008, doi:10.1016/j.str.2008.03.005) with maps that
sharpen as it goes (cascade MDFF, Singharoy et al. 2016, doi:10.7554/eLife.16105), by OpenMM on one CPU thread. It
imports nothing of ours, so that its time is its own.
"""

# OpenMM makes its units as it is imported, and its own types are narrower than what it takes.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit
from pdbfixer import PDBFixer
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

NANOMETRE = 0.1  # of an angstrom
MARGIN = 12.0  # angstrom of empty space about a map, so that a blurred one falls to nothing
PIECE_REACH, PIECE_SPRING = 6.0, 20000.0  # angstrom, kJ/mol/nm^2: what keeps a ligand in shape
# sigma (nm) and epsilon (kJ/mol) of an atom that stands for its hydrogens too; others are as carbon
SIZES = {6: (0.34, 0.36), 7: (0.325, 0.71), 8: (0.30, 0.88), 12: (0.21, 0.06), 15: (0.374, 0.84), 16: (0.356, 1.05)}
FORCE_FIELD = "amber14/protein.ff14SB.xml"


@dataclass(frozen=True)
class Settings:
    """How the peer fits; the defaults were chosen on kinesin and AdK (benchmarks/RESULTS.md).

    force_scale, last_scale kJ/mol per dalton where the map is highest, while it moves and in the last minimisation;
    spring kJ/mol/nm^2 between CA within `reach` angstrom, which give way beyond `give` angstrom of change; stages: blur
    of the map (angstrom, sigma) and picoseconds at `temperature` kelvin; cooling: picoseconds from there down to 0 K
    in `cooling_steps`, with the last stage's map. The time step is in picoseconds, friction per picosecond.
    """

    force_scale: float = 4.0
    last_scale: float = 1.5
    spring: float = 500.0
    reach: float = 10.0
    give: float = 3.0
    stages: tuple[tuple[float, float], ...] = ((10.0, 6.0), (6.0, 6.0), (3.0, 8.0), (1.5, 10.0), (0.0, 10.0))
    temperature: float = 300.0
    cooling: float = 10.0
    cooling_steps: int = 10
    dielectric: float = 80.0
    cutoff: float = 10.0
    time_step: float = 0.004
    friction: float = 1.0
    first_minimisation: int = 200
    last_minimisation: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Density:
    """values_zyx (z, y, x) of a map, voxel_size angstrom, origin_xyz (3,) angstrom of its first voxel."""

    values_zyx: np.ndarray
    voxel_size: float
    origin_xyz: np.ndarray

    def potential(self) -> "Density":
        """0 in solvent and in a margin about the map, 1 where it is highest.

        Solvent is what is no higher than the median voxel, as most of a map is empty.
        """
        above = np.clip(self.values_zyx - np.median(self.values_zyx), 0, None).astype(np.float64)
        width = int(np.ceil(MARGIN / self.voxel_size))
        origin = np.asarray(self.origin_xyz) - width * self.voxel_size
        return Density(np.pad(above / above.max(), width), self.voxel_size, origin)

    def blurred(self, sigma: float) -> "Density":
        """Convolved with a Gaussian of that sigma in angstrom, and brought to a highest value of 1 again."""
        values = gaussian_filter(self.values_zyx, sigma / self.voxel_size, mode="constant")
        return Density(values / values.max(), self.voxel_size, self.origin_xyz)


@dataclass(frozen=True)
class Pieces:
    """What is no protein: positions_xyz (atom, 3) angstrom, atomic_number (atom,), piece (atom,) that it is part of."""

    positions_xyz: np.ndarray
    atomic_number: np.ndarray
    piece: np.ndarray


def tabulated(density: Density) -> tuple:
    """The arguments of OpenMM's Continuous3DFunction: sizes and values with x fastest, ranges in nm."""
    sizes = density.values_zyx.shape[::-1]
    first = NANOMETRE * np.asarray(density.origin_xyz, dtype=np.float64)
    last = first + NANOMETRE * density.voxel_size * (np.array(sizes) - 1)
    ranges = np.stack([first, last], axis=1).ravel().tolist()
    return (*sizes, np.ascontiguousarray(density.values_zyx, dtype=np.float64).ravel(), *ranges)


def density_force(density: Density, masses: Sequence[float]) -> openmm.CustomCompoundBondForce:
    """Energy -density_scale * mass * density at each atom (kJ/mol), by tricubic splines; none for a mass of 0."""
    force = openmm.CustomCompoundBondForce(1, "-density_scale*mass*density(x1, y1, z1)")
    force.addGlobalParameter("density_scale", 0.0)
    force.addPerBondParameter("mass")
    force.addTabulatedFunction("density", openmm.Continuous3DFunction(*tabulated(density)))
    for atom, mass in enumerate(masses):
        if mass > 0:
            force.addBond([atom], [mass])
    return force


def network_force(
    positions_xyz: np.ndarray, pairs: np.ndarray, springs: Sequence[float], give: float
) -> openmm.CustomBondForce:
    """Springs (kJ/mol/nm^2) that keep pairs (pair, 2) of atoms at their distances, but give way beyond `give` angstrom.

    Energy spring/2 d^2 / (1 + (d/give)^2), so that parts of a protein can leave one another (Geman and McClure 1985).
    """
    force = openmm.CustomBondForce("0.5*spring*d2/(1+d2/give^2); d2=(r-start)^2")
    force.addGlobalParameter("give", give * NANOMETRE)
    force.addPerBondParameter("start")
    force.addPerBondParameter("spring")
    starts = NANOMETRE * np.linalg.norm(positions_xyz[pairs[:, 0]] - positions_xyz[pairs[:, 1]], axis=1)
    for (first, second), start, spring in zip(pairs.tolist(), starts.tolist(), springs, strict=True):
        force.addBond(first, second, [start, spring])
    return force


def prepared(protein: Path, seed: int) -> tuple[app.Topology, np.ndarray, np.ndarray]:
    """The protein of a PDB file with the atoms that it lacks and hydrogens at pH 7.

    Returns its topology, positions (atom, 3) in angstrom, and the row in them of each heavy atom of the file. A chain
    of the file must be without gaps: OpenMM bonds each residue with the next.
    """
    random.seed(seed)  # hydrogens are first placed by chance
    fixer = PDBFixer(filename=str(protein))
    asked = [(residue.index, atom.name) for residue in fixer.topology.residues() for atom in residue.atoms()]
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=seed)
    fixer.addMissingHydrogens(7.0)
    atoms = fixer.topology.atoms()
    place = {(atom.residue.index, atom.name): atom.index for atom in atoms}
    positions = np.array(fixer.positions.value_in_unit(unit.angstrom))
    return fixer.topology, positions, np.array([place[each] for each in asked])


def protein_system(topology: app.Topology, settings: Settings) -> openmm.System:
    """Amber's ff14SB in vacuum, hydrogens of 3 Da on rigid bonds; charges are screened by a dielectric constant."""
    system = app.ForceField(FORCE_FIELD).createSystem(
        topology,
        nonbondedMethod=app.CutoffNonPeriodic,
        nonbondedCutoff=settings.cutoff * NANOMETRE * unit.nanometer,
        constraints=app.HBonds,
        hydrogenMass=3.0 * unit.dalton,
        removeCMMotion=False,  # the protein must be free to go into its map as a whole
    )
    force = nonbonded(system)
    for row in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(row)
        force.setParticleParameters(row, charge / settings.dielectric**0.5, sigma, epsilon)
    for row in range(force.getNumExceptions()):
        first, second, product, sigma, epsilon = force.getExceptionParameters(row)
        force.setExceptionParameters(row, first, second, product / settings.dielectric, sigma, epsilon)
    return system


def nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    """The system's force of charges and of atoms' sizes."""
    return next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))


def add_pieces(system: openmm.System, pieces: Pieces) -> None:
    """Add ligands' heavy atoms, without charges; within a piece they do not repel one another."""
    force, first = nonbonded(system), system.getNumParticles()
    for number in pieces.atomic_number.tolist():
        system.addParticle(app.Element.getByAtomicNumber(number).mass)
        force.addParticle(0.0, *SIZES.get(number, SIZES[6]))
    for second in range(len(pieces.piece)):
        for other in np.flatnonzero(pieces.piece[:second] == pieces.piece[second]).tolist():
            force.addException(first + second, first + other, 0.0, 0.1, 0.0)


def network(
    alpha: np.ndarray, pieces: Pieces, positions_xyz: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (pair, 2) of rows and their springs: CA and ligands' atoms that are near, and stiffly within a ligand."""
    first = len(positions_xyz) - len(pieces.piece)
    rows = np.concatenate([alpha, np.arange(first, len(positions_xyz))])
    piece = np.concatenate([np.full(len(alpha), -1), pieces.piece])
    near = cKDTree(positions_xyz[rows]).query_pairs(settings.reach, output_type="ndarray")
    near = near[np.lexsort(near.T[::-1])]
    inner = (piece[near[:, 0]] == piece[near[:, 1]]) & (piece[near[:, 0]] >= 0)
    distance = np.linalg.norm(positions_xyz[rows[near[:, 0]]] - positions_xyz[rows[near[:, 1]]], axis=1)
    springs = np.where(inner, PIECE_SPRING, settings.spring)
    kept = (~inner | (distance < PIECE_REACH)) & (springs > 0)
    return rows[near[kept]], springs[kept]


def fitted(protein: Path, pieces: Pieces, density: Density, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Positions (atom, 3) in angstrom of the protein's heavy atoms in the file's order, and of the pieces' atoms."""
    topology, start, asked = prepared(protein, settings.seed)
    system = protein_system(topology, settings)
    masses = [0.0 if atom.element is app.element.hydrogen else atom.element.mass._value for atom in topology.atoms()]
    add_pieces(system, pieces)
    masses += [system.getParticleMass(row)._value for row in range(len(masses), system.getNumParticles())]
    start = np.concatenate([start, pieces.positions_xyz])
    alpha = np.array([atom.index for atom in topology.atoms() if atom.name == "CA"])
    system.addForce(network_force(start, *network(alpha, pieces, start, settings), settings.give))
    potential = density.potential()
    pull = density_force(potential.blurred(settings.stages[0][0]), masses)
    system.addForce(pull)
    integrator = openmm.LangevinMiddleIntegrator(settings.temperature, settings.friction, settings.time_step)
    integrator.setRandomNumberSeed(settings.seed + 1)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1", "DeterministicForces": "true"})
    context.setPositions(NANOMETRE * start)
    context.setParameter("density_scale", settings.force_scale)
    move(context, integrator, pull, potential, settings)
    found = context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    return found[asked], found[topology.getNumAtoms() :]


def move(
    context: openmm.Context,
    integrator: openmm.LangevinMiddleIntegrator,
    pull: openmm.CustomCompoundBondForce,
    potential: Density,
    settings: Settings,
) -> None:
    """Minimise, run the stages, cool, and minimise again."""
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, settings.first_minimisation)
    context.setVelocitiesToTemperature(settings.temperature, settings.seed + 1)
    for blur, time in settings.stages:
        pull.getTabulatedFunction(0).setFunctionParameters(*tabulated(potential.blurred(blur)))
        pull.updateParametersInContext(context)
        integrator.step(round(time / settings.time_step))
    for step in range(settings.cooling_steps):
        integrator.setTemperature(settings.temperature * (1 - (step + 1) / settings.cooling_steps))
        integrator.step(round(settings.cooling / settings.time_step / settings.cooling_steps))
    context.setParameter("density_scale", settings.last_scale)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, settings.last_minimisation)


def main(job: Path) -> None:
    """Fit JOB/protein.pdb and what lies in JOB/job.npz; write JOB/fitted.npz."""
    with np.load(job / "job.npz") as given:
        density = Density(given["values_zyx"], float(given["voxel_size"]), given["origin_xyz"])
        pieces = Pieces(given["pieces_xyz"], given["pieces_number"], given["pieces_piece"])
    protein_xyz, pieces_xyz = fitted(job / "protein.pdb", pieces, density, Settings())
    aside = job / "fitted.partial.npz"
    np.savez(aside, protein_xyz=protein_xyz, pieces_xyz=pieces_xyz)
    os.replace(aside, job / "fitted.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
