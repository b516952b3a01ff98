"""Stereochemistry of samples: backbone bond lengths and the official Ramachandran outliers."""

import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.errors import StructureError
from cryofound.physics.geometry import backbone_bonds
from cryofound.structure.atomic_model import RESIDUE_TYPES, AtomicModel

log = logging.getLogger(__name__)


def backbone_bond_deviation(reference: AtomicModel, samples_xyz: np.ndarray) -> float:
    """RMS difference (angstrom) between the backbone bond lengths of samples (sample, atom, 3) and of the reference."""
    bonds = backbone_bonds(reference)
    difference = _lengths(samples_xyz, bonds) - _lengths(reference.positions_xyz[None], bonds)
    return float(np.sqrt((difference**2).mean()))


@dataclass(frozen=True)
class Ramachandran:
    """Counts (sample,) int64 by cctbx ramalyze: outliers, and the residues it evaluated.

    ramalyze passes over a residue with a neighbour farther than 2 A (C-N), so a torn chain is seen in `evaluated`.
    """

    outliers: np.ndarray
    evaluated: np.ndarray

    @property
    def percent(self) -> np.ndarray:
        """(sample,) float64: outliers among the evaluated residues, the published number; 0 where none is evaluated."""
        return 100.0 * self.outliers / np.maximum(self.evaluated, 1)

    @property
    def coverage(self) -> np.ndarray:
        """(sample,) float64: residues evaluated, as a share of those evaluated in the first sample."""
        return self.evaluated / max(int(self.evaluated[0]), 1)


def ramachandran(model: AtomicModel, samples_xyz: np.ndarray) -> Ramachandran | None:
    """Official Ramachandran counts of every sample (sample, atom, 3), by cctbx `ramalyze`.

    The Top8000 distributions are compiled into cctbx-base, so nothing has to be downloaded. Returns None, with a log
    line, where cctbx is not installed. Raises StructureError if ramalyze fails. Source: Williams et al. 2018,
    doi:10.1002/pro.3330.
    """
    if importlib.util.find_spec("mmtbx") is None:
        log.warning("ramachandran=none reason='cctbx-base is not installed' remedy='pip install cctbx-base'")
        return None
    # cctbx carries its own C++ runtime and crashes where torch or gemmi was imported before: it gets its own process.
    program = Path(__file__).with_name("ramachandran_process.py")
    with tempfile.TemporaryDirectory(prefix="cryofound-ramalyze-") as folder:
        models, answer = Path(folder) / "models.npz", Path(folder) / "outliers.json"
        np.savez(
            models,
            backbone_xyz=np.asarray(samples_xyz, dtype=np.float64)[:, model.backbone_index()],
            residue_name=np.array(RESIDUE_TYPES)[model.residue_type],
            chain_id=np.asarray(model.chain_id, dtype=str),
        )
        command = [sys.executable, "-P", str(program), str(models), str(answer)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise StructureError(f"ramalyze failed with exit code {finished.returncode}: {reason}; check cctbx-base")
        outliers, evaluated = np.array(json.loads(answer.read_text()), dtype=np.int64).reshape(-1, 2).T
        return Ramachandran(outliers=outliers, evaluated=evaluated)


def _lengths(positions_xyz: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """(sample, bond) float64 lengths of bonds (bond, 2) in positions (sample, atom, 3)."""
    positions = np.asarray(positions_xyz, dtype=np.float64)
    return np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=-1)
