"""Ensembles against maps: every sample laid into every map as a rigid body, and how well it then fits."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.errors import StructureError
from cryofound.evaluation.coverage import coverage
from cryofound.evaluation.map_model import require_inside, volume_correlations
from cryofound.evaluation.sample_file import Samples
from cryofound.maps.density_map import DensityMap
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import Level, body_of, levels_of, refined
from cryofound.reference.registration import check_size, register
from cryofound.reference.rigid_fit import solvent_at_zero
from cryofound.structure.atomic_model import AtomicModel

AT_ONCE = 8  # samples that one process of cctbx judges; it takes two seconds to start


@dataclass(frozen=True)
class TargetMap:
    """A map of a state and its resolution in angstrom; population need not sum to 1 with the others'."""

    name: str
    density: DensityMap
    resolution: float
    population: float = 1.0


def correlations_with_maps(
    ensembles: Sequence[Samples],
    maps: Sequence[TargetMap],
    reference: AtomicModel,
    cache: Path,
    *,
    search: bool = False,
    processes: int | None = None,
    advance: Callable[[int], None] = lambda samples: None,
) -> list[np.ndarray]:
    """(sample, map) float64 cc_volume, by cctbx, of each ensemble, after a rigid fit of every sample to every map.

    The fit begins where the sample lies superposed on the reference, as it does in the files of `in_one_frame`, and the
    reference where it lies in the map: as it is, within some 30 degrees and 8 angstrom, or with `search` wherever
    `register` finds it. Up to `processes` (default: the CPUs there are) run at once; `advance` hears how many are done.
    What `cache` (a folder) has is not computed again. Raises StructureError if a sample does not lie in its map.
    """
    if not maps:
        return [np.zeros((len(each), 0)) for each in ensembles]
    cache.mkdir(parents=True, exist_ok=True)
    targets = [_Target.of(each, reference, search) for each in maps]
    pool = ThreadPoolExecutor(processes or len(os.sched_getaffinity(0)))

    def submit(samples: Samples, target: _Target, start: int) -> Future[np.ndarray]:
        count = min(AT_ONCE, len(samples) - start)
        future = pool.submit(_correlations, samples, target, start, count, cache)
        future.add_done_callback(lambda _: advance(count))
        return future

    try:
        jobs = [
            [[submit(samples, target, start) for start in range(0, len(samples), AT_ONCE)] for target in targets]
            for samples in ensembles
        ]
        return [np.stack([np.concatenate([part.result() for part in parts]) for parts in each], 1) for each in jobs]
    finally:
        pool.shutdown(cancel_futures=True)


def map_metrics(correlations: np.ndarray, maps: Sequence[TargetMap]) -> dict[str, float]:
    """Precision, recall and 2-Wasserstein distance by name, of cc_volume (sample, map), maps weighted by population.

    `map_distance_*` for the distance sqrt(1 - CC), `map_squared_*` for 1 - CC, of which the Wasserstein is the cost of
    the best plan and so the square of the other.
    """
    populations = np.array([each.population for each in maps])
    squared = np.maximum(1 - correlations, 0.0)
    plain, square = coverage(np.sqrt(squared), populations), coverage(squared, populations)
    return {
        "cc_volume_best": float(correlations.max()),
        "map_distance_precision": plain.precision,
        "map_distance_recall": plain.recall,
        "map_distance_wasserstein": plain.wasserstein,
        "map_squared_precision": square.precision,
        "map_squared_recall": square.recall,
        "map_squared_wasserstein": plain.wasserstein**2,
    }


@dataclass(frozen=True)
class _Target:
    """A map filtered for the fits, and where the reference lies in it; digest: of all that its scores depend on."""

    map: TargetMap
    levels: list[Level]
    start: RigidTransform
    digest: str

    @classmethod
    def of(cls, target: TargetMap, reference: AtomicModel, search: bool) -> "_Target":
        density, resolution = solvent_at_zero(target.density), target.resolution
        body, start = body_of(reference), RigidTransform.identity()
        try:
            check_size(body, density, resolution)
            if search:
                start = register(reference, target.density, resolution=resolution, check_hand=False).transform
        except StructureError as error:
            raise StructureError(f"{target.name}: {error}") from None
        require_inside(density, start.apply(body.centre[None]), f"the reference's centre and {target.name}")
        digest = hashlib.sha256(target.density.values_zyx.tobytes())
        digest.update(repr((target.density.grid, resolution, start.rotation.tolist(), start.shift.tolist())).encode())
        return cls(target, levels_of(body, density, resolution), start, digest.hexdigest())


def _correlations(samples: Samples, target: _Target, start: int, count: int, cache: Path) -> np.ndarray:
    """(count,) cc_volume of samples one after another, from the cache if they are there."""
    positions = samples.part(start, count)
    digest = hashlib.sha256(target.digest.encode())
    for each in (positions, samples.model.atom_name, samples.model.residue_type, samples.model.residue_index):
        digest.update(each.tobytes())
    known = cache / f"{digest.hexdigest()}.json"
    if known.is_file():
        return np.array(json.loads(known.read_text()))
    density, resolution, placed = target.map.density, target.map.resolution, []
    for number, each in enumerate(positions, start):
        pose = refined(body_of(samples.model.moved(each)), target.levels, target.start)
        placed.append(pose.transform.apply(each))
        require_inside(density, placed[-1], f"{samples.names[number]} in {target.map.name}")
    with tempfile.TemporaryDirectory(prefix="cryofound-maps-", dir=cache) as scratch:
        found, _ = volume_correlations(density, samples.model, np.stack(placed), resolution, Path(scratch))
        aside = Path(scratch) / "found.json"
        aside.write_text(json.dumps(found.tolist()))
        os.replace(aside, known)
    return found
