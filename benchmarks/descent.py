"""Models shaken by 0.3 A along each axis (0.52 A RMS), and what a descent on stereochemistry alone makes of them.

Judged by cctbx: clashscore2 with both of `clash_ranking`'s libraries, ramalyze; and by how far atoms were moved.
"""

from pathlib import Path

import numpy as np
import torch

from benchmarks.clash_ranking import monomer_library, official_clashscore
from cryofound.config import StereochemistryConfig
from cryofound.evaluation.stereochemistry import ramachandran
from cryofound.physics.restraints import restraint_rms
from cryofound.physics.rotamers import rotamer_class, rotamer_residues
from cryofound.physics.stereochemistry import stereochemistry, stereochemistry_loss
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.reading import read_model

STRUCTURES = (
    "calmodulin/seed/1exr_final.cif",
    "families/adenylate_kinase/4ake_final.cif.gz",
    "families/gpcr_class_a/predicted/AF2_oprk_human.pdb.gz",
)
SHAKE = 0.3  # angstrom along each axis
STEPS = 200


def descend(model: AtomicModel, positions_xyz: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """Positions (atom, 3) after that many L-BFGS steps on the default stereochemistry loss."""
    tables, config = stereochemistry(model), StereochemistryConfig()
    positions = torch.from_numpy(positions_xyz.copy())[None].requires_grad_()
    optimizer = torch.optim.LBFGS([positions], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = stereochemistry_loss(positions, tables, config).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return positions.detach()[0].numpy()


def descent(data: Path, scratch: Path) -> dict[str, float]:
    """The worst of the structures for each figure, and each structure's clashscore before and after."""
    libraries = [
        monomer_library(data, scratch / "library-as-it-is", repair=False),
        monomer_library(data, scratch / "library-complete", repair=True),
    ]
    found: dict[str, float] = {}
    worst: dict[str, list[float]] = {}
    for seed, name in enumerate(STRUCTURES):
        model = read_model(data / name)
        noise = np.random.default_rng(seed).normal(scale=SHAKE, size=model.positions_xyz.shape)
        shaken = (model.positions_xyz + noise).astype(np.float32)
        relaxed = descend(model, shaken)
        before, after = (
            max(official_clashscore(model, xyz, library, scratch) for library in libraries) for xyz in (shaken, relaxed)
        )
        counts = ramachandran(model, np.stack([shaken, relaxed]))
        assert counts is not None  # these have residues with both neighbours
        outliers = 100 * counts.outliers / counts.evaluated
        tables, both = stereochemistry(model), torch.from_numpy(np.stack([shaken, relaxed]))
        rotamers = rotamer_class(both, rotamer_residues(model)) == 0
        stem = Path(name).name.split(".")[0].lower()
        found |= {f"descent_{stem}_clashscore_before": before, f"descent_{stem}_clashscore": after}
        for metric, value in {
            "descent_clashscore": after,
            "descent_rama_outliers": float(outliers[1]),
            "descent_rama_outliers_before": float(outliers[0]),
            "descent_rota_outliers": 100 * float(rotamers[1].float().mean()),
            "descent_moved_rms": float(np.sqrt(((relaxed - shaken) ** 2).sum(-1).mean())),
            "descent_from_true_rms": float(np.sqrt(((relaxed - model.positions_xyz) ** 2).sum(-1).mean())),
            "descent_bond_rms": float(restraint_rms(both[1:], tables.restraints.bonds)),
            "descent_angle_rms": float(restraint_rms(both[1:], tables.restraints.angles)),
        }.items():
            worst.setdefault(metric, []).append(value)
    return {metric: max(values) for metric, values in worst.items()} | found
