"""The training curve of a stage: one JSON row per logged step, appended while it trains."""

import json
import os
from pathlib import Path

from cryofound.training.loop import Progress

NAME = "curve.jsonl"


def append_row(folder: Path, progress: Progress) -> None:
    """Add one logged moment."""
    row = {
        "step": progress.step,
        **progress.losses,
        "learning_rate": progress.learning_rate,
        "steps_per_second": round(progress.steps_per_second, 3),
        "seconds_left": round((progress.steps - progress.step) / progress.steps_per_second, 1),
    }
    with (Path(folder) / NAME).open("a") as curve:
        curve.write(json.dumps(row) + "\n")


def read_curve(folder: Path) -> list[dict[str, float]]:
    """The rows so far, oldest first: `step`, the losses, learning_rate, steps_per_second and seconds_left."""
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
