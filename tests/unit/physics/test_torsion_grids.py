"""Grids of torsion angles: distances with closed forms, interpolation against scipy, MolProbity's files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from cryofound.errors import SourceError
from cryofound.physics.torsion_grids import (
    TorsionGrid,
    contour_distance,
    interpolate,
    pack_percentiles,
    read_grid,
    torsion_tables,
    unpack_percentiles,
)


def test_distance_to_an_interval_is_exact_and_periodic():
    angle = np.arange(360) + 0.5
    # the value falls linearly away from 10 degrees, over the seam at 0: it is above 0.5 within 50.25 degrees of it
    apart = np.abs((angle - 10 + 180) % 360 - 180)
    values = (0.5 + (50.25 - apart) / 100).astype(np.float32)
    distance = contour_distance(TorsionGrid(values, (1.0,)), 0.5)
    assert distance == pytest.approx(apart - 50.25, abs=1e-3)


def test_distance_to_a_slanted_plane_and_to_a_ball():
    step = 5.0
    x, y = np.meshgrid(*[(np.arange(72) + 0.5) * step] * 2, indexing="ij")
    inner = np.hypot(x - 180, y - 180) < 80
    plane = ((x + y - 361.7) / np.sqrt(2)).astype(np.float32)
    # the plane has a second edge, at the seam: only points nearer to the first are asked
    slanted = contour_distance(TorsionGrid(plane, (step, step)), 0.0)
    assert np.abs(slanted + plane)[inner].max() < 0.3 * step
    radius = np.hypot(x - 183, y - 178)
    ball = contour_distance(TorsionGrid((60 - radius).astype(np.float32), (step, step)), 0.0)
    near = np.abs(radius - 60) < 50
    assert np.abs(ball - (radius - 60))[near].max() < 0.3 * step
    assert np.array_equal(ball < 0, radius <= 60)


def test_interpolation_agrees_with_scipy_for_tables_of_unlike_shape():
    rng = np.random.default_rng(0)
    shapes = ((12,), (9, 6), (6, 5, 4), (4, 5, 6, 3))
    grids = [TorsionGrid(rng.random(shape).astype(np.float32), tuple(360 / n for n in shape)) for shape in shapes]
    kind = rng.integers(0, len(shapes), 200)
    angles = rng.uniform(-180, 180, (2, 200, 4))
    found = interpolate(torsion_tables(grids), torch.from_numpy(kind), torch.from_numpy(angles).float()).numpy()
    for table, grid in enumerate(grids):
        axes = [(np.arange(-1, n + 1) + 0.5) * step for n, step in zip(grid.values.shape, grid.step, strict=True)]
        expected = RegularGridInterpolator(axes, np.pad(grid.values, 1, mode="wrap"))
        here = kind == table
        assert found[:, here] == pytest.approx(expected(angles[:, here, : len(axes)] % 360), abs=1e-5)


def test_interpolation_is_periodic_and_has_the_gradient_of_its_value():
    rng = np.random.default_rng(1)
    tables = torsion_tables([TorsionGrid(rng.random((8, 5)), (45.0, 36.0)), TorsionGrid(rng.random(6), (30.0,))])
    tables = tables.to(torch.device("cpu"), torch.float64)
    kind = torch.tensor([0, 1, 0, 1])
    angles = torch.from_numpy(rng.uniform(-180, 180, (3, 4, 2))).requires_grad_()
    value = interpolate(tables, kind, angles)
    torch.testing.assert_close(interpolate(tables, kind, angles + 720), value)
    # the second table's period is 180 degrees, and it has no second angle
    shifted = angles.detach() + torch.tensor([180.0, 33.0])
    torch.testing.assert_close(interpolate(tables, kind, shifted)[:, [1, 3]], value[:, [1, 3]])
    assert torch.autograd.gradcheck(lambda each: interpolate(tables, kind, each), angles)
    (gradient,) = torch.autograd.grad(value.sum(), angles)
    assert (gradient[:, [1, 3], 1] == 0).all()


def test_packed_percentiles_are_within_their_step():
    values = np.concatenate([[0.0, 0.01, 0.1, 1.0], np.random.default_rng(2).uniform(1e-4, 1, 1000)])
    found = unpack_percentiles(pack_percentiles(values))
    assert found[:4] == pytest.approx(values[:4])
    assert found == pytest.approx(values, rel=0.024)


def test_a_grid_is_read_from_0_degrees(tmp_path: Path):
    path = tmp_path / "small.data"
    path.write_text(
        '# Table name/description: "small"\n# Number of dimensions: 2\n# For each dimension, 1 to 2: ...\n'
        "#   x1: -180.0 180.0 4 true\n#   x2: 0.0 180.0 2 true\n# List of table coordinates and values.\n"
        "-135.0 45.0 0.25\n45.0 135.0 0.5\n"
    )
    grid = read_grid(path)
    assert grid.step == (90.0, 90.0)
    assert grid.values.tolist() == [[0, 0.5], [0, 0], [0.25, 0], [0, 0]]


@pytest.mark.parametrize("text", ["", "not a grid\n", "#   x1: 0.0 360.0 4 true\n45.0 wrong\n"])
def test_what_is_no_grid_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "broken.data"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"broken\.data: not a grid"):
        read_grid(path)
    with pytest.raises(SourceError, match="reference-data fetch"):
        read_grid(tmp_path / "none.data")
