"""The training curve of a stage: one JSON row per logged step, appended while it trains."""

import json
import os
from pathlib import Path

from cryofound.training.loop import Progress

NAME = "curve.jsonl"


# columns that another run of the same training does not repeat
CLOCK = ("steps_per_second", "samples_per_second", "atoms_per_second", "seconds_left", "memory_gib")


def append_row(folder: Path, progress: Progress) -> None:
    """Add one logged moment."""
    row = {
        "step": progress.step,
        **progress.means,
        **{f"validation/{name}": value for name, value in progress.validation.items()},
        "learning_rate": progress.learning_rate,
        "steps_per_second": round(progress.steps_per_second, 3),
        "samples_per_second": round(progress.samples_per_second, 3),
        "atoms_per_second": round(progress.atoms_per_second, 1),
        "seconds_left": round((progress.steps - progress.step) / progress.steps_per_second, 1),
        "memory_gib": round(progress.memory_gib, 4),
    }
    with (Path(folder) / NAME).open("a") as curve:
        curve.write(json.dumps(row) + "\n")


def read_curve(folder: Path) -> list[dict[str, float]]:
    """The rows so far, oldest first: step, losses, gradient_norm, validation/..., learning_rate, and those of CLOCK."""
    path = Path(folder) / NAME
    # a worker may be writing the last line at this moment: it counts when its end of line is there
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in lines]


def cut_curve(folder: Path, step: int) -> None:
    """Forget what was logged after `step`, the checkpoint that training goes on from: it will be logged again."""
    kept = [row for row in read_curve(folder) if row["step"] <= step]
    aside = Path(folder) / (NAME + ".partial")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept))
    os.replace(aside, Path(folder) / NAME)
