"""`cryofound plan`: what a recipe will take before it is run: memory of a rank, hours, storage and its price."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofound.config import EngineConfig, Recipe, load_recipe
from cryofound.home import default_home

if TYPE_CHECKING:  # torch takes seconds, which only this command should cost
    from cryofound.ensemble.sizes import SystemSize
    from cryofound.training.costs import Rates
    from cryofound.training.devices import Cluster
    from cryofound.training.footprint import Footprint

WIDTH = 120
GIB, GB = 2**30, 1e9
ASSUMED = 400  # residues


@dataclass(frozen=True)
class StagePlan:
    """One stage: samples that a rank takes at a time, and the most that fit; seconds of a step and hours, least and
    most; bytes of a rank, and what the stage keeps of all systems in the host's memory."""

    name: str
    parameters: int
    samples: int
    most_samples: int
    steps: int
    seconds: tuple[float, float]
    hours: tuple[float, float]
    memory: "Footprint"
    host_bytes: float


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    plan = nouns.add_parser("plan", help="memory, hours and storage that a recipe will take")
    plan.add_argument("--recipe", type=Path, required=True, help="YAML, for example configs/pretrain/demo.yaml")
    plan.add_argument(
        "--gpus", default="cpu", metavar="CLUSTER", help="8xA100-80, 4x8xA100-80 (four nodes), H200, cpu (%(default)s)"
    )
    plan.add_argument("--home", type=Path, default=default_home(), help="where stores and downloads are (%(default)s)")
    plan.add_argument("--store", type=Path, help="take sizes from this store (default: the home's for these systems)")
    plan.add_argument("--residues", type=int, default=ASSUMED, help="of a system of unknown size (%(default)s)")
    plan.add_argument("--storage-price", type=float, metavar="USD", help="for a GB and month, in place of list prices")
    plan.set_defaults(run=plan_command)


def plan_command(given: argparse.Namespace) -> None:
    """Print the plan, or raise a CryoFoundError."""
    from cryofound.training.costs import machine_rates
    from cryofound.training.devices import parse_cluster

    recipe = load_recipe(given.recipe)
    cluster = parse_cluster(given.gpus, recipe.engine.workers)
    sizes = read_sizes(recipe, given.home, given.store, given.residues)
    trained = [size for size in sizes if size.maps]
    fits = Counter({"all": "", "family": size.family, "system": size.system_id}[recipe.scope] for size in trained)
    rates = machine_rates()
    stages = [plan_stage(name, recipe, cluster, trained, len(fits), rates) for name in ("stage1", "stage2")]
    _print_data(recipe, cluster, sizes, len(fits))
    _print_memory(cluster, stages)
    _print_time(cluster, stages, rates)
    _print_guides(recipe, trained)
    _print_storage(recipe, sizes, stages, len(fits), given.storage_price)
    for line in advice(recipe, cluster, stages):
        print(line)


def read_sizes(recipe: Recipe, home: Path, store: Path | None, assumed: int) -> "list[SystemSize]":
    """The systems of a recipe; raises RecipeError if training would see none of them."""
    from cryofound.catalog.entry import load_entries
    from cryofound.ensemble.sizes import entry_sizes, find_store, stored_sizes
    from cryofound.errors import RecipeError

    entries = load_entries(recipe.entries)
    store = store or find_store(home, entries, recipe.grid)
    sizes = stored_sizes(store) if store else entry_sizes(entries, recipe.grid, home / "cache", assumed)
    if not any(size.maps for size in sizes):
        raise RecipeError(f"{recipe.name}: its entries have no map that training may see; add a train system")
    return sizes


def plan_stage(
    name: str, recipe: Recipe, cluster: "Cluster", sizes: "Sequence[SystemSize]", fits: int, rates: "Rates"
) -> StagePlan:
    """A stage, rehearsed with the largest molecule of every box; its memory is that of the box that takes most.

    Time is that of batches of these molecules, by the share of maps in each box, for all fits of the recipe's scope.
    """
    from cryofound.maps.density_map import Grid
    from cryofound.training.costs import reading_seconds, step_seconds
    from cryofound.training.footprint import HEADROOM, footprint, largest_batch
    from cryofound.training.rehearsal import rehearse_device, rehearse_stage1, rehearse_stage2

    rehearse = {"stage1": rehearse_stage1, "stage2": rehearse_stage2}[name]
    config, engine = getattr(recipe, name), recipe.engine
    world = cluster.world if recipe.scope == "all" else 1  # a fit of another scope is one task
    parts = world * engine.accumulation
    batches = _batch_by_box(name, recipe, sizes)
    maps = Counter(dict.fromkeys(batches, 0))
    for size in sizes:
        maps[size.box_size] += size.maps
    found, seconds, parameters, host = [], [0.0, 0.0], 0, 0.0
    for box_size, (batch, size) in batches.items():
        grid, samples = Grid.centred(box_size, recipe.grid.voxel_size), -(-batch // parts)
        rehearsal = rehearse(recipe, size.model(), grid, len(sizes), size.resolution)
        scratch = None
        if not cluster.on_cpu:
            scratch = rehearse_device(size.model(), grid, size.resolution)
        memory = footprint(rehearsal, samples, engine.zero_stage, world, scratch)
        room = cluster.device.memory * GIB * (1 if cluster.on_cpu else HEADROOM)
        most = largest_batch(rehearsal, room, engine.zero_stage, world, scratch)
        found.append((memory, samples, most))
        threads, bf16 = engine.threads, engine.precision == "bf16"
        took = step_seconds(rehearsal.step_seconds, samples, engine.accumulation, cluster, rates, threads, bf16)
        reading = reading_seconds(samples * engine.accumulation, box_size) if name == "stage1" else 0.0
        share = maps[box_size] / sum(maps.values())
        seconds = [total + share * (each + reading) for total, each in zip(seconds, took, strict=True)]
        parameters = max(parameters, rehearsal.parameters)
        host += rehearsal.held_bytes * sum(other.box_size == box_size for other in sizes)
    memory, samples, most = max(found, key=lambda each: each[0].total)
    turns = -(-fits // cluster.world) if recipe.scope != "all" else 1
    least, longest = (turns * config.steps * each / 3600 for each in seconds)
    return StagePlan(
        name, parameters, samples, most, config.steps, (seconds[0], seconds[1]), (least, longest), memory, host
    )


def _batch_by_box(name: str, recipe: Recipe, sizes: "Sequence[SystemSize]") -> "dict[int, tuple[int, SystemSize]]":
    """For each box the batch that holds most atoms: its number of samples, and the largest molecule in it."""
    import numpy as np

    from cryofound.ensemble.buckets import make_buckets

    config = getattr(recipe, name)
    measures = np.array([[size.atoms, size.residues] for size in sizes])
    cost = measures[:, 0] if getattr(config, "even_cost", False) else None
    multiple = getattr(config, "batch_multiple", 1)
    boxes = np.array([size.box_size for size in sizes])
    buckets = make_buckets(boxes, measures, config.batch_size, cost=cost, multiple=multiple)
    chosen: dict[int, tuple[int, SystemSize]] = {}
    for rows, batch in zip(buckets.rows, buckets.batch_sizes, strict=True):
        largest = max((sizes[row] for row in rows.tolist()), key=lambda size: size.atoms)
        known = chosen.get(largest.box_size)
        if known is None or batch * largest.atoms > known[0] * known[1].atoms:
            chosen[largest.box_size] = batch, largest
    return chosen


def fits(cluster: "Cluster", stage: StagePlan) -> bool:
    """Whether a rank's memory holds the stage."""
    return stage.samples <= stage.most_samples and stage.memory.total <= cluster.device.memory * GIB


def advice(recipe: Recipe, cluster: "Cluster", stages: Sequence[StagePlan]) -> list[str]:
    """One line for each stage: it fits, or what to change; and for settings that are not the cluster's."""
    engine, lines = recipe.engine, []
    for stage in stages:
        batch = getattr(recipe, stage.name).batch_size
        if recipe.scope == "all" and batch < cluster.world * engine.accumulation:
            lines.append(
                f"{stage.name}: does not run: a batch of {batch} cannot be shared by {cluster.world} workers in "
                f"{engine.accumulation} parts; set {stage.name}.batch_size to a multiple of "
                f"{cluster.world * engine.accumulation}"
            )
        elif fits(cluster, stage):
            lines.append(f"{stage.name}: fits; up to {stage.most_samples} samples a rank at a time would")
        else:
            lines.append(f"{stage.name}: does not fit; {'; or '.join(_remedies(engine, cluster, stage))}")
    wanted = EngineConfig(workers=cluster.world, gpus_per_worker=0.0 if cluster.on_cpu else 1.0)
    if (engine.workers, engine.gpus_per_worker) != (wanted.workers, wanted.gpus_per_worker):
        lines.append(
            f"engine: planned for workers: {wanted.workers}, gpus_per_worker: {wanted.gpus_per_worker:g}; the recipe "
            f"has {engine.workers} and {engine.gpus_per_worker:g}"
        )
    return lines


def _remedies(engine: EngineConfig, cluster: "Cluster", stage: StagePlan) -> list[str]:
    """Settings that make a stage smaller, the cheapest first."""
    remedies = []
    if stage.most_samples:
        parts = engine.accumulation * -(-stage.samples // stage.most_samples)
        remedies.append(f"set engine.accumulation to {parts}")
        most = stage.most_samples * cluster.world * engine.accumulation
        remedies.append(f"{stage.name}.batch_size to {most}")
    if not engine.activation_checkpointing:
        remedies.append("engine.activation_checkpointing to true")
    if engine.precision == "fp32" and not cluster.on_cpu:
        remedies.append("engine.precision to bf16")
    if not engine.zero_stage and stage.memory.adam > 0.2 * stage.memory.total:
        remedies.append("engine.zero_stage to 1")
    return remedies or ["take smaller boxes or systems"]


def _print_data(recipe: Recipe, cluster: "Cluster", sizes: "Sequence[SystemSize]", fits: int) -> None:
    from cryofound.ensemble.sizes import KNOWN_FROM

    trained = [size for size in sizes if size.maps]
    known = Counter(size.known_from for size in sizes)
    boxes = Counter({size.box_size: 0 for size in sizes})
    for size in trained:
        boxes[size.box_size] += size.maps
    largest = max(sizes, key=lambda size: size.atoms)
    print(f"recipe={recipe.name} workers={cluster.world} device={cluster.device.name} scope={recipe.scope} fits={fits}")
    print(
        f"data: {len(trained)} training systems of {len({size.family for size in trained})} families, "
        f"{len(sizes) - len(trained)} held out; maps "
        + ", ".join(f"{count} of {box}^3" for box, count in sorted(boxes.items()))
        + f"; largest system {largest.system_id}, {largest.atoms} atoms, {largest.residues} residues"
    )
    print("sizes known from: " + ", ".join(f"{word} {known[word]}" for word in KNOWN_FROM if known[word]))


def _print_memory(cluster: "Cluster", stages: Sequence[StagePlan]) -> None:
    from dataclasses import fields

    from rich.console import Console
    from rich.table import Table

    table = Table(title="memory of a rank, GiB", title_justify="left")
    table.add_column("")
    for stage in stages:
        table.add_column(stage.name, justify="right")
    words = {
        "overhead": "libraries, freed blocks the allocator keeps"
        if cluster.on_cpu
        else "CUDA context and workspaces (assumed)"
    }
    for field in fields(stages[0].memory):
        name = words.get(field.name, field.name)
        table.add_row(name, *(f"{getattr(stage.memory, field.name) / GIB:.3f}" for stage in stages))
    table.add_row("total", *(f"{stage.memory.total / GIB:.3f}" for stage in stages))
    table.add_row("a rank has", *(f"{cluster.device.memory:.1f}" for _ in stages))
    table.add_row("of all systems, in the host's memory", *(f"{stage.host_bytes / GIB:.3f}" for stage in stages))
    Console(width=WIDTH, highlight=False).print(table)


def _print_time(cluster: "Cluster", stages: Sequence[StagePlan], rates: "Rates") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="time", title_justify="left")
    for column in ("", "parameters", "samples a rank", "steps", "s a step", "hours"):
        table.add_column(column, justify="right" if column else "left")
    for stage in stages:
        table.add_row(
            stage.name, f"{stage.parameters:,}", f"{stage.samples}", f"{stage.steps}", _range(*stage.seconds),
            _range(*stage.hours),
        )  # fmt: skip
    hours = [sum(stage.hours[end] for stage in stages) for end in (0, 1)]
    table.add_row("both", "", "", "", "", _range(*hours))
    Console(width=WIDTH, highlight=False).print(table)
    if cluster.on_cpu:
        print("time: of steps rehearsed on this machine, as if nothing else ran on it")
    else:
        device = cluster.device
        print(
            f"time: {device.name} was never measured. Steps rehearsed on this machine's CPU, of which one thread "
            f"copies {rates.bandwidth / GB:.0f} GB/s and does {rates.operations / GB:.0f} GFLOP/s in fp32, are "
            f"scaled by the device's peaks, {device.bandwidth:g} GB/s and {device.fp32:g} (bf16 {device.bf16:g}) "
            "TFLOP/s: the range is theirs. Gradients sent between workers are not counted"
        )


def _print_guides(recipe: Recipe, trained: "Sequence[SystemSize]") -> None:
    weight = recipe.stage1.guide_weight
    maps = sum(
        size.maps for size in trained if recipe.stage1.family_weights.get(size.family, {}).get("guide", weight) > 0
    )
    if maps:
        print(
            f"guides: models are placed into {maps} maps before stage 1, a CPU for each system, which is not in these "
            "hours (measured on one core: 5 s a map of 2,200 atoms, 16 s of 7,700)"
        )


def _print_storage(
    recipe: Recipe, sizes: "Sequence[SystemSize]", stages: Sequence[StagePlan], fits: int, price: float | None
) -> None:
    from cryofound.training.costs import PRICES, storage

    states, maps = Counter(), Counter()
    for size in sizes:
        states[size.box_size] += size.states
        maps[size.box_size] += size.maps
    kept = recipe.engine.keep_last + recipe.engine.keep_best
    needed = storage(states, maps, [fits * stage.parameters for stage in stages], kept)
    parts = {
        "store": _range(*(each / GB for each in needed.store)),
        "shards": f"{needed.shards / GB:.3g}",
        "checkpoints": f"{needed.checkpoints / GB:.3g}",
        "exports": f"{needed.exports / GB:.3g}",
        "all": _range(*(each / GB for each in needed.total)),
    }
    print("storage, GB: " + ", ".join(f"{name} {value}" for name, value in parts.items()))
    prices = PRICES if price is None else {"given": price}
    print(
        "its price, US dollars a month: "
        + ", ".join(
            f"{_range(*(each / GB * price for each in needed.total))} ({name}, {price:g} a GB)"
            for name, price in prices.items()
        )
        + ("; AWS us-east-1 list prices of April 2026" if price is None else "")
    )


def _range(least: float, most: float) -> str:
    low, high = f"{least:.2g}", f"{most:.2g}"
    return low if low == high else f"{low} to {high}"
