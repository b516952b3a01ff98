"""Peak of resident memory while a stage trains, measured in a process of its own: `python peak_process.py CASES`.

CASES is JSON: a list of [stage, residues, box_size, batch_size, zero_stage, width]. Prints a list of [measured,
predicted without what the allocator keeps, predicted with it], in bytes. `measured` is above what the process held with
everything imported, compiled and built.
"""

import ctypes
import gc
import json
import resource
import sys
import tempfile
from pathlib import Path

import torch

from cryofound.config import EngineConfig, GridConfig, ModelConfig, Recipe, Stage1Config, Stage2Config
from cryofound.maps.density_map import Grid
from cryofound.structure.stand_in import stand_in
from cryofound.training.engine import Engine
from cryofound.training.footprint import LIBRARIES, footprint
from cryofound.training.loop import train
from cryofound.training.rehearsal import rehearse_stage1, rehearse_stage2, stage1_of, stage2_of

SEQUENCE = "MKVLAAGIRSDEWTFNPQHYCG"
STEPS = 4


def measured(case: list) -> list[float]:
    """Of one case."""
    name, residues, box_size, batch_size, zero_stage, width = case
    recipe = Recipe(
        name="peak",
        entries=(),
        grid=GridConfig(box_size=box_size),
        model=ModelConfig(encoder_width=width, decoder_width=width),
        stage1=Stage1Config(steps=STEPS, batch_size=batch_size, validate_every=0, checkpoint_every=STEPS),
        stage2=Stage2Config(steps=STEPS, batch_size=batch_size, validate_every=0, checkpoint_every=STEPS, width=width),
        engine=EngineConfig(threads=1, zero_stage=zero_stage),
    )
    model = stand_in((SEQUENCE * (residues // len(SEQUENCE) + 1))[:residues])
    grid = Grid.centred(box_size, recipe.grid.voxel_size)
    rehearse, make = {"stage1": (rehearse_stage1, stage1_of), "stage2": (rehearse_stage2, stage2_of)}[name]
    rehearsal = rehearse(recipe, model, grid, batch_size, 8.0)
    predicted = footprint(rehearsal, batch_size, zero_stage, 1)
    with tempfile.TemporaryDirectory() as folder:
        stage = make(recipe, model, grid, batch_size, 8.0, Path(folder))
        module = stage.module()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or what the allocator kept would hide what training needs
        held = resident()
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's record of the peak begins afresh
        engine = Engine(module, recipe.engine, weight_decay=0.0, gradient_clip=1.0)
        train(engine, stage, start_step=0, seed=0, on_log=lambda _: None, on_checkpoint=lambda *_: None)
        peak = 2**30 * engine.peak_gib()
    own = 4 * rehearsal.parameters  # the module's weights were there before
    return [peak - held + own, predicted.total - predicted.overhead, predicted.total - LIBRARIES]


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured(["stage1", 40, 64, 1, 0, 32])  # compiles, loads libraries
    print(json.dumps([measured(case) for case in json.loads(sys.argv[1])]))
