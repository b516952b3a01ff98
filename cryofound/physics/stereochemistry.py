"""All stereochemical terms of a model in one number: how far it is from what good structures look like.

Each term is a squared deviation over its spread, as in a chi-squared: bonds, angles, volumes and omegas from their
ideal values, CB from its place, phi, psi and the chi angles from their allowed regions, atoms from one another. The
loss is the mean over residues, so that it means the same for a peptide and a channel; how it
maps to the published weight of an unnormalised sum is in docs/decisions/014-stereochemistry-weights.md.
"""

from dataclasses import dataclass

from torch import Tensor

from cryofound.config import StereochemistryConfig
from cryofound.physics.cbeta import CBetas, cbeta_deviation, cbetas
from cryofound.physics.clashes import ClashTopology, clash_overlap, clash_topology
from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.neighbours import PairList
from cryofound.physics.omega import Peptides, omega_term, peptides
from cryofound.physics.on_device import OnDevice
from cryofound.physics.ramachandran import RamachandranResidues, ramachandran_excess, ramachandran_residues
from cryofound.physics.restraints import Restraints, residue_sums, restraint_rows, restraint_term
from cryofound.physics.rotamers import RotamerResidues, rotamer_excess, rotamer_residues
from cryofound.structure.atomic_model import AtomicModel


@dataclass(frozen=True)
class Stereochemistry(OnDevice):
    """Everything the terms know of a model beside its positions."""

    restraints: Restraints
    peptides: Peptides
    cbetas: CBetas
    ramachandran: RamachandranResidues
    rotamers: RotamerResidues
    clashes: ClashTopology

    @property
    def n_residues(self) -> int:
        return self.clashes.n_residues


def stereochemistry(model: AtomicModel) -> Stereochemistry:
    """The tables of all terms for a model; of its positions only bonds, cis peptides and disulfides are read."""
    return Stereochemistry(
        restraint_rows(model),
        peptides(model),
        cbetas(model),
        ramachandran_residues(model, bonded_to_next(model)),
        rotamer_residues(model),
        clash_topology(model),
    )


def stereochemistry_terms(
    positions_xyz: Tensor, tables: Stereochemistry, config: StereochemistryConfig, nearby: PairList | None = None
) -> dict[str, Tensor]:
    """Weighted terms of each residue, without unit: (batch, atom, 3) -> name to (batch, residue).

    A term of weight 0 is left out. nearby: as of `clash_overlap`. Differentiable; raises ValueError if a position is
    not finite.
    """
    restraints, rama, rota = tables.restraints, tables.ramachandran, tables.rotamers
    wanted = {
        "bond": lambda: (restraint_term(positions_xyz, restraints.bonds), restraints.bonds),
        "angle": lambda: (restraint_term(positions_xyz, restraints.angles), restraints.angles),
        "volume": lambda: (restraint_term(positions_xyz, restraints.volumes), restraints.volumes),
        "omega": lambda: (omega_term(positions_xyz, tables.peptides), tables.peptides),
        "cbeta": lambda: (
            (cbeta_deviation(positions_xyz, tables.cbetas) / config.cbeta_sigma).square(),
            tables.cbetas,
        ),
        "ramachandran": lambda: (
            (
                ramachandran_excess(positions_xyz, rama, config.ramachandran_margin, config.ramachandran_region)
                / config.ramachandran_sigma
            ).square(),
            rama,
        ),
        "rotamer": lambda: (
            (rotamer_excess(positions_xyz, rota, config.rotamer_margin) / config.rotamer_sigma).square(),
            rota,
        ),
    }
    terms = {}
    for name, term in wanted.items():
        weight = getattr(config, name)
        if weight:
            values, rows = term()
            terms[name] = weight * residue_sums(values, rows.residue, tables.n_residues)
    if config.clash:
        overlap = clash_overlap(positions_xyz, tables.clashes, config.clash_tolerance, nearby)
        terms["clash"] = config.clash * overlap / config.clash_sigma**2
    return terms


def stereochemistry_loss(
    positions_xyz: Tensor, tables: Stereochemistry, config: StereochemistryConfig, nearby: PairList | None = None
) -> Tensor:
    """Mean over residues of the sum of all terms, without unit: (batch, atom, 3) -> (batch,)."""
    terms = stereochemistry_terms(positions_xyz, tables, config, nearby).values()
    return sum((term.mean(1) for term in terms), start=positions_xyz.new_zeros(len(positions_xyz)))
