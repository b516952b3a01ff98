"""Time and storage scale as they must."""

import pytest

from cryofound.training.costs import FLOAT, STORED, Rates, reading_seconds, step_seconds, storage
from cryofound.training.devices import parse_cluster
from cryofound.training.rehearsal import Line


def test_a_gpu_is_scaled_by_its_peaks_and_python_is_not() -> None:
    # H200: 4800 GB/s is 480 times this thread's, 67 TFLOP/s 670 times
    rates, line = Rates(10e9, 100e9), Line(0.05, 1.0)
    least, most = step_seconds(line, 8, 2, parse_cluster("H200", 1), rates, 1, bf16=False)
    assert least == pytest.approx(2 * (0.05 + 8 / 670))
    assert most == pytest.approx(2 * (0.05 + 8 / 480))


def test_one_worker_on_the_cpu_takes_what_was_rehearsed() -> None:
    assert step_seconds(Line(0.5, 0.25), 2, 3, parse_cluster("cpu", 1), Rates(1, 1), 1, bf16=False) == (3.0, 3.0)


def test_reading_grows_with_the_voxels() -> None:
    assert reading_seconds(10, 128) == pytest.approx(8 * reading_seconds(10, 64))


def test_storage_counts_maps_of_every_box_and_kept_checkpoints() -> None:
    found = storage({64: 3, 32: 8}, {64: 2}, [1000, 500], kept=3)
    raw = FLOAT * (3 * 64**3 + 8 * 32**3)
    assert found.store == pytest.approx([share * raw for share in STORED])
    assert found.shards == FLOAT * 2 * 64**3
    assert found.checkpoints == 3 * 3 * FLOAT * 1500  # weights and two moments, three times
    assert found.total[1] - found.total[0] == pytest.approx(found.store[1] - found.store[0])
