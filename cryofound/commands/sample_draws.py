"""Samples as they are drawn, put on disk in the frame of the user's file, and what is measured of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.evaluation.fluctuation import fluctuations
from cryofound.evaluation.principal_motions import PrincipalMotions
from cryofound.evaluation.sample_file import Samples
from cryofound.evaluation.superposition import superposed_rmsd
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.sampling.zero_shot import Drawn
from cryofound.structure.alignment import rmsd_superposed
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.symmetry import find_symmetry

POSITIONS, LATENTS = "positions.f32", "latents.npy"


@dataclass(frozen=True)
class Draws:
    """Samples on disk, their latents in a file (sample, latent voxel, channel) float32 beside them, and figures.

    first_xyz (some, atom, 3) and first_latent: the first of them, in the frame in which they were drawn. repair
    angstrom, rama_outliers in %, clashes per 1,000 atoms: (sample,) each. dropped: how many were drawn in vain.
    """

    samples: Samples
    latents: Path
    first_xyz: np.ndarray
    first_latent: np.ndarray
    repair: np.ndarray
    rama_outliers: np.ndarray
    clashes: np.ndarray
    dropped: int


def gather_draws(
    draws: Iterable[Drawn], count: int, reference: AtomicModel, to_file: RigidTransform, folder: Path, first: int
) -> Draws:
    """Take chunks until there are `count` samples, move them by `to_file` onto the reference, and put them in `folder`.

    `first` of them are kept in memory as they were drawn; of the others only figures.
    """
    kept_xyz, kept_latent, figures, number, dropped = [], [], [], 0, 0
    latents = None
    with (folder / POSITIONS).open("wb") as stream:
        for chunk in draws:
            own = slice(0, count - number)
            positions, latent = chunk.positions_xyz[own], chunk.latent[own]
            if latents is None:
                shape = (count, *latent.shape[1:])
                latents = np.lib.format.open_memmap(folder / LATENTS, mode="w+", dtype=np.float32, shape=shape)
            latents[number : number + len(latent)] = latent
            stream.write(to_file.apply(positions).astype(np.float32).tobytes())
            if number < first:
                kept_xyz.append(positions[: first - number])
                kept_latent.append(latent[: first - number])
            figures.append(np.stack([each[own] for each in (chunk.moved, chunk.outliers, chunk.clashes)]))
            number, dropped = number + len(positions), int(chunk.dropped)
            if number == count:
                break
    if latents is not None:
        latents.flush()
    moved, outliers, clashes = np.concatenate(figures, axis=1)
    digits = max(2, len(str(count)))
    names = tuple(f"sample_{row:0{digits}d}" for row in range(1, number + 1))
    return Draws(
        samples=Samples("samples", reference, names, folder / POSITIONS),
        latents=folder / LATENTS,
        first_xyz=np.concatenate(kept_xyz),
        first_latent=np.concatenate(kept_latent),
        repair=moved,
        rama_outliers=100 * outliers,
        clashes=clashes,
        dropped=dropped,
    )


def sample_figures(draws: Draws, motions: PrincipalMotions, point_group: str) -> dict[str, np.ndarray]:
    """Of each sample (sample,): its places along the motions, how far it is from the reference, and its validity.

    rmsd and symmetry_rmsd are angstrom over CA after superposition, the latter of the turn that fits worst.
    """
    samples = draws.samples
    ca = samples.model.backbone_index()[:, 1]
    rmsd = [superposed_rmsd(chunk[:, ca], samples.model.ca_xyz()[None])[:, 0] for chunk in samples.chunks()]
    places = {f"motion_{axis + 1}": motions.place[:, axis] for axis in range(motions.place.shape[1])}
    validity = {"rama_outliers": draws.rama_outliers, "clashes": draws.clashes, "repair": draws.repair}
    if point_group != "C1":
        validity["symmetry_rmsd"] = _off_symmetry(samples, point_group)
    return {**places, "rmsd": np.concatenate(rmsd), **validity}


def residue_fluctuations(samples: Samples) -> np.ndarray:
    """(residue,) float64 angstrom: RMSF of each CA, as `cryofound evaluate` has it."""
    ca = samples.model.backbone_index()[:, 1]
    return fluctuations(lambda: (chunk[:, ca] for chunk in samples.chunks()), samples.model.ca_xyz())


def _off_symmetry(samples: Samples, point_group: str) -> np.ndarray:
    """(sample,) angstrom."""
    ca = samples.model.backbone_index()[:, 1]
    turned = find_symmetry(samples.model, point_group).atoms[1:, ca]
    pairs = [(rows[rows >= 0], ca[rows >= 0]) for rows in turned]
    return np.array(
        [max(rmsd_superposed(each[rows], each[own]) for rows, own in pairs) for c in samples.chunks() for each in c]
    )
