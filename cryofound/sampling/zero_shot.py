"""Zero-shot sampling: an ensemble for a reference, with or without maps of its own."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cryofound.config import SamplingConfig
from cryofound.ensemble.system import System
from cryofound.errors import SamplingError
from cryofound.sampling.drawing import Conditioned, SymmetryChoice, conditioned, decoded, draw_latents
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.repair import RepairTables, repair, repair_tables
from cryofound.sampling.validity import faults, soundness, told
from cryofound.structure.symmetry import find_symmetry


@dataclass(frozen=True)
class Drawn:
    """Some valid samples of a system.

    number (sample,) int64, which draws they are; positions_xyz (sample, atom, 3) float32 angstrom, repaired; latent
    (sample, token, C) float32; moved (sample,) angstrom RMS over atoms by repair; outliers (sample,) share of residues
    that are Ramachandran outliers; clashes (sample,) per 1000 atoms, by our own count; dropped: draws that were not
    valid, all chunks so far taken together.
    """

    number: np.ndarray
    positions_xyz: np.ndarray
    latent: np.ndarray
    moved: np.ndarray
    outliers: np.ndarray
    clashes: np.ndarray
    dropped: int


def draw_valid(
    model: FlowModel, system: System, settings: SamplingConfig, seed: int, *, symmetry: SymmetryChoice = "kept"
) -> Iterator[Drawn]:
    """Draw, decode, repair and check until `settings.samples` are valid, chunk by chunk in the order of their numbers.

    The system must be in the canonical frame of its family. Its symmetry holds for samples exactly if kept; released,
    copies of a chain move on their own. Memory does not grow with the number of samples. Raises SamplingError when
    `attempts_per_sample` times as many were drawn and fewer are valid.
    """
    what, tables = conditioned(model, system, symmetry), _tables(system, symmetry)
    limit = settings.samples * settings.attempts_per_sample
    valid, first, reasons = 0, 0, Counter[str]()
    while valid < settings.samples:
        if first == limit:
            raise SamplingError(
                f"{system.system_id}: {valid} of {settings.samples} samples are valid after {limit} draws "
                f"({told(reasons)}); ask for fewer, or raise sampling.attempts_per_sample or the limits of "
                "sampling.validity and sampling.repair.most_movement"
            )
        numbers = np.arange(first, min(first + min(what.chunk, settings.samples - valid), limit))
        first += len(numbers)
        drawn, found = _drawn(what, tables, settings, seed, numbers)
        reasons.update({reason: int(wrong.sum()) for reason, wrong in found.items() if wrong.any()})
        sound = ~np.any(list(found.values()), axis=0)
        valid += int(sound.sum())
        if sound.any():
            per_sample = ("number", "positions_xyz", "latent", "moved", "outliers", "clashes")
            yield Drawn(*(getattr(drawn, name)[sound] for name in per_sample), dropped=first - valid)


def sample_system(model: FlowModel, system: System, seed: int) -> np.ndarray:
    """The first draws of a system, valid or not, decoded and repaired: (sample, atom, 3) float32 angstrom.

    Number of samples, solver steps and guidance are the recipe's. What a model is worth is told by all its draws: what
    a user is given comes from `draw_valid`. The system must be in the canonical frame of its family.
    """
    settings = model.recipe.sampling
    what = conditioned(model, system)
    positions = decoded(what, draw_latents(what, settings, seed, range(settings.samples)))
    if settings.repair.iterations == 0:
        return positions
    tables = _tables(system, "kept")
    rows = range(0, len(positions), what.chunk)
    return np.concatenate([repair(positions[row : row + what.chunk], tables, settings.repair)[0] for row in rows])


def _tables(system: System, symmetry: SymmetryChoice) -> RepairTables:
    tied = symmetry == "kept" and system.symmetry != "C1"
    return repair_tables(system.reference, find_symmetry(system.reference, system.symmetry) if tied else None)


def _drawn(
    what: Conditioned, tables: RepairTables, settings: SamplingConfig, seed: int, numbers: np.ndarray
) -> tuple[Drawn, dict[str, np.ndarray]]:
    """The samples with these numbers, and what is wrong with which of them."""
    latent = draw_latents(what, settings, seed, numbers.tolist())
    positions, moved = repair(decoded(what, latent), tables, settings.repair)
    own = soundness(torch.from_numpy(positions), tables.terms)
    found = faults(own, tables.reference, moved, settings.repair, settings.validity)
    return Drawn(numbers, positions, latent.numpy(), moved, own.outliers, own.clashes, 0), found
