"""The curve: rows come back as they were logged, a line that is being written does not count, and resuming cuts it."""

import dataclasses
from pathlib import Path

from cryofound.training.curve import CLOCK, NAME, append_row, cut_curve, read_curve
from cryofound.training.loop import Progress

MOMENT = Progress(
    step=10,
    steps=40,
    means={"total": 0.5, "gradient_norm": 2.0},
    learning_rate=1e-3,
    steps_per_second=2.0,
    samples_per_second=16.0,
    atoms_per_second=1600.0,
    memory_gib=1.5,
    validation={"loss": 0.25, "ncc/kinases/abl1": 0.75},
)


def test_rows_read_back_with_every_figure(tmp_path: Path) -> None:
    append_row(tmp_path, MOMENT)
    append_row(tmp_path, dataclasses.replace(MOMENT, step=20, validation={}))
    first, second = read_curve(tmp_path)
    assert first == {
        "step": 10,
        "total": 0.5,
        "gradient_norm": 2.0,
        "validation/loss": 0.25,
        "validation/ncc/kinases/abl1": 0.75,
        "learning_rate": 1e-3,
        "steps_per_second": 2.0,
        "samples_per_second": 16.0,
        "atoms_per_second": 1600.0,
        "seconds_left": 15.0,
        "memory_gib": 1.5,
    }
    assert second["seconds_left"] == 10.0
    assert not [name for name in second if name.startswith("validation")]
    assert set(CLOCK) < set(second)


def test_a_line_without_its_end_does_not_count_and_what_comes_after_a_checkpoint_is_cut(tmp_path: Path) -> None:
    assert read_curve(tmp_path) == []
    for step in (10, 20, 30):
        append_row(tmp_path, dataclasses.replace(MOMENT, step=step))
    with (tmp_path / NAME).open("a") as curve:
        curve.write('{"step": 4')
    assert [row["step"] for row in read_curve(tmp_path)] == [10, 20, 30]
    cut_curve(tmp_path, 20)
    append_row(tmp_path, dataclasses.replace(MOMENT, step=30))
    assert [row["step"] for row in read_curve(tmp_path)] == [10, 20, 30]
