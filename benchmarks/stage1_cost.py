"""The cost of one stage-1 step beside the plain one of baseline.py: time for calmodulin, memory for a TRPV3 channel.

Each measurement is a process of its own that runs the real `Stage1` on maps of a bent model; its peak is the largest
resident memory that it ever had, libraries included. At TRPV3's size the baseline does not fit here: its tensors are
counted without values (LiveTensors) and added to what the process holds before its first step. The same count is
held against measured peaks at smaller sizes with TRPV3's ratio of pairs to voxels, so that the peak is at the same
operation.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.baseline import Baseline
from cryofound.config import GridConfig, Recipe, Stage1Config
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.physics.density import render_gaussian
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.reading import read_model
from cryofound.training.live_tensors import LiveTensors
from cryofound.training.molecules import molecule_batch
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1, Stage1Batch

ROOT = Path(__file__).resolve().parents[1]
CHANNEL = Path("families/trp_channel/6o1p_trpv5.pdb.gz")
GAP = 6.0  # angstrom between the boxes of neighbouring copies
Side = Literal["ours", "baseline", "both", "fake"]
SIDES = get_args(Side)


@dataclass(frozen=True)
class Case:
    """What one step is measured on: `maps` maps of box_size^3 voxels at `resolution` angstrom, of one model."""

    atoms: int
    maps: int
    box_size: int
    voxel_size: float
    resolution: float


CALMODULIN = Case(atoms=1165, maps=8, box_size=64, voxel_size=2.0, resolution=8.0)
TRPV3 = Case(atoms=20_000, maps=4, box_size=192, voxel_size=1.1, resolution=4.0)
CHECKS = (
    Case(atoms=3_849, maps=4, box_size=64, voxel_size=1.1, resolution=4.0),
    Case(atoms=7_071, maps=2, box_size=96, voxel_size=1.1, resolution=4.0),
)


def channel_model(data: Path, atoms: int) -> AtomicModel:
    """A protein-like model of `atoms` heavy atoms (to the nearest residue), centred on the origin.

    Whole residues of the TRPV5 tetramer (6O1P, 19,608 atoms), then of copies of it side by side in two's cube.
    """
    chains = [read_model(data / CHANNEL, chain=name) for name in "ABCD"]
    residues = np.concatenate([np.bincount(chain.residue_index) for chain in chains])
    tetramer = np.concatenate([chain.positions_xyz for chain in chains])
    copies = -(-atoms // len(tetramer))
    ends = np.cumsum(np.tile(residues, copies))
    kept_residues = int(np.abs(ends - atoms).argmin()) + 1
    kept = int(ends[kept_residues - 1])
    edge = int(np.ceil(copies ** (1 / 3)))
    places = np.array([np.unravel_index(copy, (edge,) * 3) for copy in range(copies)])
    step = np.ptp(tetramer, axis=0) + GAP
    xyz = (tetramer + (places * step)[:, None]).reshape(-1, 3)[:kept]

    def tiled(name: str) -> np.ndarray:
        return np.tile(np.concatenate([getattr(chain, name) for chain in chains]), copies)

    names = [f"{copy}{name}" for copy in range(copies) for chain in chains for name in chain.chain_id]
    return AtomicModel(
        positions_xyz=(xyz - 0.5 * (xyz.min(0) + xyz.max(0))).astype(np.float32),
        atom_name=tiled("atom_name")[:kept],
        element=tiled("element")[:kept],
        residue_index=np.repeat(np.arange(kept_residues), np.tile(residues, copies)[:kept_residues]),
        residue_type=tiled("residue_type")[:kept_residues],
        residue_number=tiled("residue_number")[:kept_residues],
        chain_id=np.array(names[:kept_residues]),
    )


def bent(model: AtomicModel, states: int) -> np.ndarray:
    """(state, atom, 3) float32: the model bent by long waves of about 2 A, each state by other ones."""
    turn = 2 * np.pi * np.arange(states) / states
    wave = np.sin(model.positions_xyz[:, [1, 2, 0]] / 30.0 + turn[:, None, None])
    return (model.positions_xyz + 2.0 * wave).astype(np.float32)


def stage1_cost(data: Path) -> dict[str, float]:
    """Metrics of the benchmark `physics` about stage 1; `data` is the shared data folder. Takes about three minutes."""
    calmodulin = _child(data, "both", CALMODULIN, steps=7)
    channel = _child(data, "ours", TRPV3, steps=4)
    metrics = {
        "stage1_seconds": calmodulin["ours"],
        "stage1_baseline_seconds": calmodulin["baseline"],
        "stage1_speedup_vs_baseline": calmodulin["baseline"] / calmodulin["ours"],
        "trpv3_step_seconds": channel["ours"],
        "trpv3_step_peak_gib": channel["peak_gib"],
        "trpv3_baseline_peak_gib": _child(data, "fake", TRPV3, steps=1)["peak_gib"],
    }
    metrics["stage1_memory_ratio_vs_baseline"] = metrics["trpv3_baseline_peak_gib"] / metrics["trpv3_step_peak_gib"]
    for case in CHECKS:
        measured, counted = (_child(data, side, case, steps=2)["peak_gib"] for side in ("baseline", "fake"))
        metrics[f"baseline_{case.atoms}_peak_gib"] = measured
        metrics[f"baseline_{case.atoms}_counted_over_measured"] = counted / measured
    return metrics


def _child(data: Path, side: Side, case: Case, steps: int) -> dict[str, float]:
    """What `measure` finds in a process of its own, on one thread."""
    arguments = ["--data", str(data), "--side", side, "--case", json.dumps(asdict(case)), "--steps", str(steps)]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.stage1_cost", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(finished.stdout.splitlines()[-1])


def measure(data: Path, side: Side, case: Case, steps: int) -> dict[str, float]:
    """Median seconds of a step of each side, and the peak resident memory of this process in GiB.

    `both` takes steps of the two sides in turn; `fake` counts the baseline's memory without having it.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage1_of(case, data, Path(folder))
        baseline = Baseline(stage.recipe, stage.systems[0].reference)
        if side == "fake":
            return {"peak_gib": counted_peak_gib(baseline, stage.batch(0, 0, 1))}
        chosen = {"ours": {"ours": stage}, "baseline": {"baseline": baseline}}
        sides = chosen.get(side, {"ours": stage, "baseline": baseline})
        trained = {name: _Trained(each) for name, each in sides.items()}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(steps):
            batch = stage.batch(number, 0, 1)
            for name, each in trained.items():
                began = time.perf_counter()
                each.step(batch, number)
                seconds[name].append(time.perf_counter() - began)
    # the first step also compiles
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    return medians | {"peak_gib": resident_gib("VmHWM")}


def counted_peak_gib(baseline: Baseline, batch: Stage1Batch) -> float:
    """Resident memory of this process plus the live tensors of one step of the baseline, at its peak."""
    held = resident_gib("VmRSS")
    with FakeTensorMode(allow_non_fake_inputs=True):
        trained = _Trained(baseline)
        with LiveTensors() as live:
            trained.step(batch, 0)
    return held + live.peak / 2**30


class _Trained:
    """A side with its network and optimiser."""

    def __init__(self, side: Stage1 | Baseline):
        self.side, self.module = side, side.module()
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=side.recipe.stage1.learning_rate)

    def step(self, batch: Stage1Batch, seed: int) -> None:
        """Losses, gradients, clipping, update."""
        losses = self.side.losses(self.module, batch, Noise(0, seed))
        self.optimizer.zero_grad()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.side.recipe.stage1.gradient_clip)
        self.optimizer.step()


def recipe_of(case: Case) -> Recipe:
    """The default recipe on the grid and with the batch of a case."""
    grid = GridConfig(box_size=case.box_size, voxel_size=case.voxel_size)
    return Recipe(name="stage1-cost", entries=(), grid=grid, stage1=Stage1Config(batch_size=case.maps))


def stage1_of(case: Case, data: Path, folder: Path) -> Stage1:
    """The real stage 1 of one system with `case.maps` maps, which go to `folder` as a training shard."""
    model, grid = channel_model(data, case.atoms), Grid.centred(case.box_size, case.voxel_size)
    truth = bent(model, case.maps)
    states = tuple(State(f"{row}", 1.0, case.resolution, "train") for row in range(case.maps))
    system = System(
        "channel", "channels", "train", model, np.arange(model.n_residues, dtype=np.float32), states, truth,
        np.ones(truth.shape[:2], dtype=bool), grid,
    )  # fmt: skip
    amplitude = molecule_batch([system], [0]).amplitude

    def samples() -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        for row, state in enumerate(states):
            density = render_gaussian(torch.from_numpy(truth[row : row + 1]), amplitude, grid, case.resolution)
            meta = {"system_id": "channel", "state_id": state.state_id, "resolution": case.resolution}
            yield shard_key("channel", state.state_id), density[0].numpy(), meta

    write_shard(folder / "train-000000.tar", samples())
    return Stage1(recipe_of(case), {"channel": system}, ShardIndex.open(folder))


def resident_gib(word: Literal["VmHWM", "VmRSS"]) -> float:
    """Resident memory of this process in GiB, its peak (VmHWM) or now (VmRSS).

    Not getrusage, whose peak a child inherits from the process that started it.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[word].split()[0]) / 2**20


def main() -> None:
    """Print what `measure` finds as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage1_cost", description="Measure one case.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--case", type=json.loads, required=True, help="fields of `Case` as JSON")
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(measure(given.data, given.side, Case(**given.case), given.steps)))


if __name__ == "__main__":
    main()
