"""How well a model fits a map: the published correlations by cctbx, and Fourier shells, with B-factors fitted first."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.errors import StructureError
from cryofound.evaluation.cctbx_program import run_program
from cryofound.evaluation.scored_model import Residue, ScoredModel
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import soft_mask, span, voxels_zyx, zone_mask
from cryofound.maps.shells import ShellCorrelation, shell_correlation
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.writing import write_ensemble

TOLD = ("cc_mask", "cc_volume", "cc_peaks", "cc_box", "cc_mask_as_given", "cc_mask_one_b", "fitted")
OUTSIDE = 0.01  # share of atoms that may lie outside a map; a box cut close loses a few waters


@dataclass(frozen=True)
class MapModelScore:
    """cc_*: as published, up to the resolution. cc_mask_as_given: with the B-factors of the file; cc_mask_one_b: with
    one fitted for all atoms, which cannot hide residues without density (None if kept); fitted: whether the others are
    with fitted ones of each residue. b_factor (atom,) float64, angstrom^2: the ones used. cc_residue: by residue.
    shells: Fourier shell correlation of map and model within a soft mask about the model.
    """

    cc_mask: float
    cc_volume: float
    cc_peaks: float
    cc_box: float
    cc_mask_as_given: float
    cc_mask_one_b: float | None
    fitted: bool
    b_factor: np.ndarray
    cc_residue: dict[Residue, float]
    shells: ShellCorrelation


def map_model_score(
    density: DensityMap, model: ScoredModel, resolution: float, scratch: Path, *, keep_b: bool = False
) -> MapModelScore:
    """Correlations of a map with a model in its frame, at a resolution in angstrom; `scratch` is an empty folder.

    Electron scattering factors. B-factors are one per residue, fitted to the map and restrained to their neighbours'
    (Phenix's code), unless those of the file give the larger cc_mask, or `keep_b`. Sources: Afonine et al. 2018,
    doi:10.1107/S2059798318009324 (correlations, as `phenix.map_model_cc` computes them), doi:10.1107/S2059798318006551
    (B-factors). Raises StructureError if cctbx fails or more than one atom in a hundred lies outside the map.
    """
    require_cover(density, model)
    structure, job, calculated = (scratch / name for name in ("model.cif", "job.json", "map.npy"))
    arrays = _written(density, scratch)
    model.write(structure)
    job.write_text(json.dumps({"resolution": resolution, "fit": not keep_b, "map": str(calculated)}))
    told = run_program("map_model_process.py", (arrays, structure, job), f"{model.path}: map correlation")
    drawn = DensityMap(np.ascontiguousarray(np.load(calculated).transpose(2, 1, 0)), density.grid)
    near = zone_mask(density.grid, model.positions_xyz, resolution)
    return MapModelScore(
        **{name: told[name] for name in TOLD},
        b_factor=np.array(told["b_factor"]),
        cc_residue={Residue(*place): cc for *place, cc in reversed(told["residues"])},
        shells=shell_correlation(density, drawn, soft_mask(near, density.grid.voxel_size, edge=resolution)),
    )


def volume_correlations(
    density: DensityMap, model: AtomicModel, conformations_xyz: np.ndarray, resolution: float, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """cc_volume and B-factor (conformation,) of conformations (conformation, atom, 3) of a model, in the map's frame.

    As `map_model_score` computes it, with the one B-factor for all atoms of a conformation that makes it largest: one
    for each residue would hide those that lie where there is no density. `scratch` is an empty folder. Raises
    StructureError if cctbx fails.
    """
    structure, job, positions = (scratch / name for name in ("model.cif", "job.json", "positions.npy"))
    arrays = _written(density, scratch)
    write_ensemble(structure, model, conformations_xyz[:1])
    np.save(positions, conformations_xyz)
    job.write_text(json.dumps({"resolution": resolution, "conformations": str(positions)}))
    told = run_program("map_model_process.py", (arrays, structure, job), "map correlation of samples")
    return np.array(told["cc_volume"]), np.array(told["b_factor"])


def _written(density: DensityMap, scratch: Path) -> Path:
    """The file of a map for `map_model_process.py`."""
    path = scratch / "map.npz"
    values_xyz = density.values_zyx.transpose(2, 1, 0)
    np.savez(path, values_xyz=values_xyz, voxel_size=density.grid.voxel_size, origin_xyz=density.grid.origin_xyz)
    return path


def require_cover(density: DensityMap, model: ScoredModel) -> None:
    """Raise StructureError if more than one atom in a hundred lies outside the map."""
    require_inside(density, model.positions_xyz, str(model.path))


def require_inside(density: DensityMap, positions_xyz: np.ndarray, name: str) -> None:
    """Raise StructureError, `name` first, if more than one in a hundred of positions (atom, 3) lies outside the map."""
    place = voxels_zyx(density.grid, positions_xyz)
    outside = int(((place < -0.5) | (place > np.array(density.grid.shape_zyx) - 0.5)).any(axis=1).sum())
    if outside > OUTSIDE * len(place):
        low, high = (edge.round(1).tolist() for edge in (positions_xyz.min(0), positions_xyz.max(0)))
        raise StructureError(
            f"{name}: {outside} of {len(place)} atoms lie outside the map: the model reaches from {low} to "
            f"{high} A, the map spans {span(density.grid)}; dock the model first, or give the whole map"
        )
