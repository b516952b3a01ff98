"""A stage's step rehearsed on a molecule of the size in question: what it keeps in memory and how long it takes.

The stage's own code runs, on this machine's CPU, and the bytes of its tensors are counted: a change of the networks or
losses changes the count by itself. Both grow in proportion to the batch, so two small batches tell of large ones.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.physics.clashes import TOLERANCE, clash_topology
from cryofound.physics.density import GAUSSIAN_CUTOFF, cutoff_radius
from cryofound.physics.form_factors import gaussian_form
from cryofound.physics.hydrogens import place_hydrogens
from cryofound.physics.neighbours import pairs_by_cells
from cryofound.physics.windows import WindowSplat
from cryofound.structure.atomic_model import AtomicModel
from cryofound.training.live_tensors import LiveTensors
from cryofound.training.loop import Stage
from cryofound.training.molecules import molecule_batch
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1, build_vae
from cryofound.training.stage2 import Stage2

BATCHES = (1, 3)  # samples of the two rehearsals
REPEATS = 2


@dataclass(frozen=True)
class Line:
    """A quantity that grows evenly with the samples of a batch."""

    fixed: float
    each: float

    def at(self, samples: float) -> float:
        """Its value for so many samples."""
        return self.fixed + self.each * samples


@dataclass(frozen=True)
class Rehearsal:
    """What a stage needs for one kind of molecule.

    parameters: numbers that are trained; step_bytes: of all tensors alive at once in forward and backward pass, without
    weights and their gradients; step_seconds: of both passes on this
    machine's processor by itself; held_bytes: what the stage keeps of one
    system all the time, in the memory of the host.
    """

    parameters: int
    step_bytes: Line
    step_seconds: Line
    held_bytes: int


@dataclass(frozen=True)
class DeviceScratch:
    """What the physics takes on a device other than the CPU, where it has no compiled kernels, while it runs.

    window_voxels: of the windows around all atoms of a map; voxel_bytes: for each of them that is held at once;
    pair_bytes: of the search for overlapping atoms of a model.
    """

    window_voxels: int
    voxel_bytes: float
    pair_bytes: int


def rehearse_stage1(recipe: Recipe, reference: AtomicModel, grid: Grid, systems: int, resolution: float) -> Rehearsal:
    """Stage 1 on maps (at `resolution` angstrom) of one molecule; of the recipe's `systems` training systems."""
    return _rehearse(recipe, partial(stage1_of, reference=reference, grid=grid, systems=systems, resolution=resolution))


def rehearse_stage2(recipe: Recipe, reference: AtomicModel, grid: Grid, systems: int, resolution: float) -> Rehearsal:
    """Stage 2 on codes of one molecule, which an untrained VAE gives."""
    return _rehearse(recipe, partial(stage2_of, reference=reference, grid=grid, systems=systems, resolution=resolution))


def stage1_of(
    recipe: Recipe, reference: AtomicModel, grid: Grid, systems: int, resolution: float, folder: Path
) -> Stage1:
    """Stage 1 of a recipe on systems that are all alike, with maps of noise, which go to `folder`."""
    return Stage1(recipe, *_data(recipe.stage1.batch_size, reference, grid, systems, resolution, folder))


def stage2_of(
    recipe: Recipe, reference: AtomicModel, grid: Grid, systems: int, resolution: float, folder: Path
) -> Stage2:
    """Stage 2 of a recipe on systems that are all alike, with the codes of an untrained VAE."""
    known, shards = _data(recipe.stage2.batch_size, reference, grid, systems, resolution, folder)
    return Stage2(recipe, known, shards, build_vae(recipe, len(known)).eval())


def rehearse_device(reference: AtomicModel, grid: Grid, resolution: float) -> DeviceScratch:
    """The forward model's windows and the search for clashes as another device runs them, counted on the CPU."""
    molecule = molecule_batch([_system(reference, grid, resolution, "any")], [0])
    heights, decays = gaussian_form(molecule.amplitude, resolution)
    radii = cutoff_radius(heights, decays, GAUSSIAN_CUTOFF)
    width = 2 * torch.ceil(radii / float(np.max(grid.voxel_size))).clamp_max(min(grid.shape_zyx) // 2) + 1
    voxels = width[0].pow(3)

    def rendered(atoms: slice) -> int:
        positions = molecule.reference_xyz[:, atoms].clone().requires_grad_()
        with LiveTensors() as live:
            density = WindowSplat.apply(positions, heights[:, atoms], decays[:, atoms], radii[:, atoms], grid)
            density.backward(torch.ones_like(density))
        return live.peak

    # between a few atoms and more, the maps' own bytes fall out
    few, more = slice(0, 8), slice(0, 512)
    voxel_bytes = (rendered(more) - rendered(few)) / float(voxels[more].sum() - voxels[few].sum())
    topology = clash_topology(reference)
    sites = torch.cat([molecule.reference_xyz, place_hydrogens(molecule.reference_xyz, topology.hydrogens)], dim=1)
    with LiveTensors() as pairs, torch.no_grad():
        pairs_by_cells(sites, topology.radius, topology.excluded, TOLERANCE)
    return DeviceScratch(int(voxels.sum()), voxel_bytes, pairs.peak)


def _rehearse(recipe: Recipe, make: Callable[..., Stage]) -> Rehearsal:
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.engine.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="cryofound-plan-") as folder:
            stages = [make(_with_batch(recipe, samples), folder=Path(folder) / str(samples)) for samples in BATCHES]
            taken = [_measured(stage, recipe) for stage in stages]
            held = [_held(stage) for stage in stages]
    finally:
        torch.set_num_threads(threads)
    size, seconds = ([each[column] for each in taken] for column in (0, 1))
    parameters = sum(weight.numel() for weight in stages[-1].module().parameters())
    per_system = (held[1] - held[0]) / (BATCHES[1] - BATCHES[0])
    return Rehearsal(parameters, _line(size), _line(seconds), max(0, round(per_system)))


def _line(values: Sequence[float]) -> Line:
    """Through the values at the two batches; it does not fall, nor begin below zero."""
    each = max(0.0, (values[1] - values[0]) / (BATCHES[1] - BATCHES[0]))
    return Line(max(0.0, values[0] - each * BATCHES[0]), each)


def _measured(stage: Stage, recipe: Recipe) -> tuple[float, float]:
    """Peak bytes of a step, and the least seconds of some."""
    module = stage.module()
    if recipe.engine.activation_checkpointing:
        from cryofound.training.engine import recompute_blocks  # loads DeepSpeed

        recompute_blocks(module)
    gradients = [torch.zeros_like(weight) for weight in module.parameters()]  # held anyway, and counted apart
    for weight, gradient in zip(module.parameters(), gradients, strict=True):
        weight.grad = gradient
    _pass(stage, module, recipe)  # compiles, and fills caches
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()  # of the processor: what else runs here does not count
        _pass(stage, module, recipe)
        seconds.append((time.process_time() - began) / torch.get_num_threads())
    with LiveTensors([*module.parameters(), *module.buffers(), *gradients]) as live:
        _pass(stage, module, recipe)
    return live.peak, min(seconds)


def _pass(stage: Stage, module: nn.Module, recipe: Recipe) -> None:
    """One forward and backward pass, as loop.py takes it."""
    batch = stage.batch(0, 0, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.engine.precision == "bf16"):
        losses = stage.losses(module, batch, Noise(recipe.seed, 0))
    losses["total"].backward()


def _with_batch(recipe: Recipe, samples: int) -> Recipe:
    stages = {name: getattr(recipe, name).model_copy(update={"batch_size": samples}) for name in ("stage1", "stage2")}
    return recipe.model_copy(update=stages)


def _data(
    samples: int, reference: AtomicModel, grid: Grid, systems: int, resolution: float, folder: Path
) -> tuple[dict[str, System], ShardIndex]:
    """As many systems as a batch can have of the recipe's, and at least a map for each sample."""
    names = [f"rehearsed-{number:02d}" for number in range(min(systems, samples))]
    known = {name: _system(reference, grid, resolution, name, states=-(-samples // len(names))) for name in names}

    def maps() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        random = np.random.default_rng(0)
        for name, system in known.items():
            for row, state in enumerate(system.states):
                density = random.standard_normal(grid.shape_zyx, dtype=np.float32)
                meta = {
                    "system_id": name, "state_id": state.state_id, "family": system.family, "state_index": row,
                    "population": 1.0, "resolution": resolution, "subset": "train",
                }  # fmt: skip
                yield shard_key(name, state.state_id), density, meta

    write_shard(folder / "train-000000.tar", maps())
    return known, ShardIndex.open(folder)


def _system(reference: AtomicModel, grid: Grid, resolution: float, name: str, states: int = 1) -> System:
    truth = np.repeat(reference.positions_xyz[None], states, axis=0)
    return System(
        system_id=name,
        family="rehearsed",
        split="train",
        reference=reference,
        family_position=np.arange(reference.n_residues, dtype=np.float32),
        states=tuple(State(f"s{row}", 1.0, resolution, "train") for row in range(states)),
        truth_xyz=truth,
        truth_mask=np.ones(truth.shape[:2], dtype=bool),
        grid=grid,
    )


def _held(value: Any) -> int:
    """Bytes of all tensors and arrays that an object holds, each once."""
    found: dict[int, int] = {}

    def walk(each: Any) -> None:
        if isinstance(each, Tensor):
            found[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
        elif isinstance(each, np.ndarray):
            found[id(each)] = each.nbytes
        elif isinstance(each, dict):
            walk(list(each.values()))
        elif isinstance(each, (list, tuple)):
            for item in each:
                walk(item)
        elif is_dataclass(each):
            walk([getattr(each, field.name) for field in fields(each)])

    walk(list(vars(value).values()))
    return sum(found.values())
