"""The preprocessing recipe: steps in the order given, each saying in numbers what it did to a map."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from cryofound.config import Section
from cryofound.errors import MapError
from cryofound.maps.boxes import box_about, cut_box, tight_box
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.filters import low_pass, low_pass_cosine, sharpen
from cryofound.maps.masks import level_mask, masked, remove_dust, soft_mask, zone_mask
from cryofound.maps.resampling import fourier_resample, resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.maps.statistics import mean_and_sd, noise, normalised

Facts = dict[str, str | int | float | list[int] | list[float]]
Positive = Annotated[float, Field(gt=0)]


class ResampleStep(Section):
    """Another voxel size."""

    kind: Literal["resample"]
    voxel_size: Positive = Field(description="angstrom")
    method: Literal["fourier", "spline"] = Field("fourier", description="spline: exactly this size, but no cut-off")
    tolerance: Positive = Field(0.01, description="relative, of the size achieved by method fourier")


class LowPassStep(Section):
    """Nothing finer than a resolution."""

    kind: Literal["low_pass"]
    resolution: Positive = Field(description="angstrom")
    edge: Literal["gaussian", "cosine"] = "gaussian"


class SharpenStep(Section):
    """Amplitudes times exp(-b_factor f^2 / 4)."""

    kind: Literal["sharpen"]
    b_factor: float = Field(description="square angstrom, negative to sharpen")


class ThresholdStep(Section):
    """Values not above the level become zero."""

    kind: Literal["threshold"]
    level: float = Field(description="in the map's own units")


class DustStep(Section):
    """Small separate parts above a level become zero (ChimeraX `surface dust`, metric size)."""

    kind: Literal["dust"]
    size: Positive = Field(description="parts whose bounding box is no longer than this go")
    unit: Literal["angstrom", "voxels"] = "angstrom"
    level: float = Field(0.0, description="parts are connected voxels above it, in the map's own units")


class ZoneStep(Section):
    """Only what is near the model."""

    kind: Literal["zone"]
    radius: Positive = Field(description="angstrom from the nearest atom")
    edge: float = Field(0.0, ge=0, description="angstrom over which the zone ends; 0 cuts it off")


class MaskStep(Section):
    """Only what is above a level or near it."""

    kind: Literal["mask"]
    level: float = Field(description="in the map's own units")
    extend: float = Field(0.0, ge=0, description="angstrom kept around it")
    edge: Positive = Field(6.0, description="angstrom of cosine edge")


class TightBoxStep(Section):
    """The smallest box about what is above a level."""

    kind: Literal["tight_box"]
    level: float = Field(0.0, description="in the map's own units")
    padding: float = Field(0.0, ge=0, description="angstrom on each side")
    multiple: int = Field(8, ge=1, description="voxels; each edge is a multiple of it")


class BoxStep(Section):
    """A box of given size, cut or padded with zeros."""

    kind: Literal["box"]
    shape_xyz: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]]
    centre: Literal["map", "density", "model"] = Field(
        "map", description="middle of the map, centre of mass of positive density, or middle of the model's extent"
    )


class NormaliseStep(Section):
    """Mean 0 and standard deviation 1 where the map is above a level, near the model, or (neither given) everywhere."""

    kind: Literal["normalise"]
    level: float | None = Field(None, description="in the map's own units")
    radius: Positive | None = Field(None, description="angstrom from the nearest atom; goes before level")


PreprocessingStep = Annotated[
    ResampleStep
    | LowPassStep
    | SharpenStep
    | ThresholdStep
    | DustStep
    | ZoneStep
    | MaskStep
    | TightBoxStep
    | BoxStep
    | NormaliseStep,
    Field(discriminator="kind"),
]


def preprocess(
    density: DensityMap, steps: Sequence[PreprocessingStep], model_xyz: np.ndarray | None = None
) -> tuple[DensityMap, list[Facts]]:
    """The map after all steps, and for each what it did: JSON-serialisable numbers, `kind` first.

    `model_xyz` (atom, 3) angstrom, in the map's frame, is what zone, normalise by radius and a box about the model go
    by. Facts end with the grid and the standard deviation that the step left. Raises MapError naming the step's number
    and kind.
    """
    facts = []
    for number, step in enumerate(steps, start=1):
        try:
            density, did = _apply(density, step, model_xyz)
        except MapError as error:
            raise MapError(f"preprocessing step {number} ({step.kind}): {error}") from None
        facts.append(
            {
                "kind": step.kind,
                **did,
                "shape_xyz": list(density.grid.shape_zyx[::-1]),
                "voxel_size": density.grid.voxel_size,
                "origin_xyz": list(density.grid.origin_xyz),
                "sd": mean_and_sd(density.values_zyx)[1],
            }
        )
    return density, facts


def _apply(density: DensityMap, step: PreprocessingStep, model_xyz: np.ndarray | None) -> tuple[DensityMap, Facts]:
    grid = density.grid
    match step:
        case ResampleStep(method="fourier"):
            return fourier_resample(density, step.voxel_size, step.tolerance), {"asked_voxel_size": step.voxel_size}
        case ResampleStep():
            return _resample_exactly(density, step.voxel_size), {"asked_voxel_size": step.voxel_size}
        case LowPassStep():
            smooth = low_pass if step.edge == "gaussian" else low_pass_cosine
            return smooth(density, step.resolution), {"resolution": step.resolution}
        case SharpenStep():
            return sharpen(density, step.b_factor), {"b_factor": step.b_factor}
        case ThresholdStep():
            mask = level_mask(density, step.level)
            return masked(density, mask), {"kept_voxels": int(mask.sum()), **_kept(density, mask)}
        case DustStep():
            above = level_mask(density, step.level)
            extent = step.size / grid.voxel_size if step.unit == "angstrom" else step.size
            kept, parts = remove_dust(above, extent)
            dust = above & ~kept
            facts: Facts = {"removed_parts": parts, "removed_voxels": int(dust.sum()), "extent_voxels": extent}
            return masked(density, ~dust), {**facts, **_kept(density, ~dust)}
        case ZoneStep():
            mask = zone_mask(grid, _model(model_xyz), step.radius)
            facts = {"zone_voxels": int(mask.sum()), **_kept(density, mask)}
            return masked(density, soft_mask(mask, grid.voxel_size, step.edge) if step.edge else mask), facts
        case MaskStep():
            mask = soft_mask(level_mask(density, step.level), grid.voxel_size, step.edge, step.extend)
            outside = {"outside_sd": noise(density, mask).sd} if not mask.all() else {}
            return masked(density, mask), {
                "mask_voxels": int(np.count_nonzero(mask)),
                **_kept(density, mask),
                **outside,
            }
        case TightBoxStep():
            padding = round(step.padding / grid.voxel_size)
            start, shape = tight_box(level_mask(density, step.level), padding, step.multiple)
            return _boxed(density, start, shape)
        case BoxStep():
            x, y, z = step.shape_xyz
            shape = (z, y, x)
            return _boxed(density, box_about(grid, _centre(density, step.centre, model_xyz), shape), shape)
        case NormaliseStep():
            if step.radius is not None:
                mask = zone_mask(grid, _model(model_xyz), step.radius)
            elif step.level is not None:
                mask = level_mask(density, step.level)
            else:
                mask = np.ones(grid.shape_zyx, dtype=bool)
            scaled, mean, sd = normalised(density, mask)
            return scaled, {"mean": mean, "sd_within": sd, "mask_voxels": int(mask.sum())}


def _resample_exactly(density: DensityMap, voxel_size: float) -> DensityMap:
    grid = density.grid
    z, y, x = (int((size - 1) * grid.voxel_size / voxel_size + 1e-6) + 1 for size in grid.shape_zyx)
    target = Grid((z, y, x), voxel_size, grid.origin_xyz)
    return DensityMap(resample(density, target, RigidTransform.identity()), target)


def _boxed(density: DensityMap, start: tuple[int, int, int], shape: tuple[int, int, int]) -> tuple[DensityMap, Facts]:
    boxed = cut_box(density, start, shape)
    before = _positive_sum(density.values_zyx)
    return boxed, {
        "start_xyz": list(start[::-1]),
        "kept_density": _positive_sum(boxed.values_zyx) / before if before > 0 else 1.0,
    }


def _centre(
    density: DensityMap, about: Literal["map", "density", "model"], model_xyz: np.ndarray | None
) -> tuple[float, float, float]:
    if about == "model":
        model = _model(model_xyz)
        middle = 0.5 * (model.min(axis=0) + model.max(axis=0))
    else:
        weights = np.maximum(density.values_zyx, 0) if about == "density" else None
        along = []
        for axis, size in enumerate(density.grid.shape_zyx):
            others = tuple(other for other in range(3) if other != axis)
            line = np.ones(size) if weights is None else weights.sum(axis=others, dtype=np.float64)
            if not line.sum() > 0:
                raise MapError("the map has no positive density to centre the box on; centre it on the map")
            along.append(float(np.average(np.arange(size), weights=line)))
        middle = np.array(density.grid.origin_xyz) + density.grid.voxel_size * np.array(along[::-1])
    return float(middle[0]), float(middle[1]), float(middle[2])


def _kept(density: DensityMap, mask: np.ndarray) -> Facts:
    """The share of the map's positive density that a mask keeps."""
    before = _positive_sum(density.values_zyx)
    return {"kept_density": _positive_sum(density.values_zyx * mask) / before if before > 0 else 1.0}


def _positive_sum(values: np.ndarray) -> float:
    return float(np.maximum(values, 0).sum(dtype=np.float64))


def _model(model_xyz: np.ndarray | None) -> np.ndarray:
    if model_xyz is None or len(model_xyz) == 0:
        raise MapError("needs a model in the map's frame, and there is none; register a reference first")
    return np.asarray(model_xyz)
