"""The recipe: the paper's steps can be said, run in order, and report what they did."""

import json

import numpy as np
import pytest
import torch
import yaml
from pydantic import Field, ValidationError

from cryofound.config import Section
from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.masks import zone_mask
from cryofound.maps.preprocessing import PreprocessingStep, preprocess
from cryofound.maps.resampling import fourier_resample
from cryofound.physics.density import render_gaussian
from tests.made_proteins import made_protein

# The paper's appendix (arXiv 2605.09832).
PAPER = {
    "integrin": """
        - {kind: resample, voxel_size: 2.5}
        - {kind: threshold, level: 0.28}
        - {kind: box, shape_xyz: [50, 100, 90], centre: density}
    """,
    "nk1r": """
        - {kind: resample, voxel_size: 2.5}
        - {kind: zone, radius: 5}
        - {kind: dust, size: 5}
    """,
    "p-glycoprotein": """
        - {kind: zone, radius: 5}
    """,
}


class Steps(Section):
    """What an entry holds."""

    steps: tuple[PreprocessingStep, ...] = Field()


def steps(text: str) -> tuple[PreprocessingStep, ...]:
    return Steps.model_validate({"steps": yaml.safe_load(text)}).steps


@pytest.fixture(scope="module")
def protein_xyz() -> np.ndarray:
    return made_protein().positions_xyz.astype(np.float64)


@pytest.fixture(scope="module")
def density(protein_xyz: np.ndarray) -> DensityMap:
    """A protein at 6 A with noise, peaks near 1, and one blob of dust 40 A away from it."""
    grid = Grid((96, 96, 96), 1.25, (-50.0, -60.0, -58.0))
    positions = np.concatenate([protein_xyz, protein_xyz[:1] + [0, 40, 0]])
    values = render_gaussian(torch.tensor(positions)[None], torch.ones(1, len(positions)), grid, 6.0)[0].numpy()
    noise = np.random.default_rng(0).normal(scale=0.03, size=grid.shape_zyx)
    return DensityMap((values / values.max() + noise).astype(np.float32), grid)


@pytest.mark.parametrize("system", PAPER)
def test_the_papers_recipes_run_and_report(system: str, density: DensityMap, protein_xyz: np.ndarray) -> None:
    recipe = steps(PAPER[system])
    done, facts = preprocess(density, recipe, protein_xyz)
    assert [fact["kind"] for fact in facts] == [step.kind for step in recipe]
    assert json.loads(json.dumps(facts)) == facts
    assert facts[-1]["shape_xyz"] == list(done.values_zyx.shape[::-1])
    again, same = preprocess(density, recipe, protein_xyz)
    np.testing.assert_array_equal(again.values_zyx, done.values_zyx)
    assert same == facts


def test_integrin(density: DensityMap) -> None:
    done, facts = preprocess(density, steps(PAPER["integrin"]))
    assert done.grid.shape_zyx == (90, 100, 50)
    assert done.grid.voxel_size == pytest.approx(2.5, rel=0.01)
    kept = done.values_zyx[done.values_zyx != 0]
    assert kept.min() > 0.28
    coarse = fourier_resample(density, 2.5).values_zyx
    assert facts[1]["kept_voxels"] == (coarse > 0.28).sum() == len(kept)
    assert facts[2]["kept_density"] == pytest.approx(1.0)
    # The box is centred on the density it holds.
    middle = [
        np.average(np.arange(size), weights=done.values_zyx.sum(axis=tuple({0, 1, 2} - {axis})))
        for axis, size in enumerate((90, 100, 50))
    ]
    assert np.abs(np.array(middle) - [44.5, 49.5, 24.5]).max() <= 0.51


def test_nk1r(density: DensityMap, protein_xyz: np.ndarray) -> None:
    done, facts = preprocess(density, steps(PAPER["nk1r"]), protein_xyz)
    zone = zone_mask(done.grid, protein_xyz, 5.0)
    assert facts[1]["zone_voxels"] == zone.sum()
    assert not done.values_zyx[~zone].any()
    assert facts[2]["extent_voxels"] == pytest.approx(5 / done.grid.voxel_size)
    assert 0.9 < float(facts[2]["kept_density"]) <= 1.0  # type: ignore[arg-type]  # this fact is a number


def test_order_is_kept(density: DensityMap, protein_xyz: np.ndarray) -> None:
    """Dust before the threshold that makes it dust takes nothing away; after it, it takes the blob."""
    threshold, dust = "{kind: threshold, level: 0.15}", "{kind: dust, size: 12, level: 0.15}"
    first = preprocess(density, steps(f"[{threshold}, {dust}]"))
    assert first[1][1]["removed_parts"] == 1
    z, y, x = np.rint((protein_xyz[0] + [0, 40, 0] - density.grid.origin_xyz)[::-1] / 1.25).astype(int)
    assert density.values_zyx[z, y, x] > 0.15
    assert first[0].values_zyx[z, y, x] == 0
    # A low-pass before the threshold keeps fewer or more voxels than one after it.
    smooth = "{kind: low_pass, resolution: 8}"
    one, two = (preprocess(density, steps(f"[{a}, {b}]"))[0] for a, b in ((smooth, threshold), (threshold, smooth)))
    assert (one.values_zyx == 0).mean() > 0.9 > (two.values_zyx == 0).mean()


def test_other_steps(density: DensityMap, protein_xyz: np.ndarray) -> None:
    recipe = """
        - {kind: sharpen, b_factor: -20}
        - {kind: low_pass, resolution: 5, edge: cosine}
        - {kind: mask, level: 0.3, extend: 3, edge: 6}
        - {kind: tight_box, level: 0.3, padding: 6}
        - {kind: resample, voxel_size: 2.0, method: spline}
        - {kind: normalise, radius: 4}
    """
    done, facts = preprocess(density, steps(recipe), protein_xyz)
    shape = facts[3]["shape_xyz"]
    assert isinstance(shape, list)
    assert all(size % 8 == 0 for size in shape)
    assert facts[3]["kept_density"] == pytest.approx(1.0, abs=0.02)
    assert done.grid.voxel_size == 2.0
    within = done.values_zyx[zone_mask(done.grid, protein_xyz, 4.0)].astype(float)
    assert (within.mean(), within.std()) == pytest.approx((0, 1), abs=1e-5)
    start = facts[3]["start_xyz"]
    assert done.grid.origin_xyz == pytest.approx(np.array(density.grid.origin_xyz) + 1.25 * np.array(start))


def test_errors_name_the_step(density: DensityMap) -> None:
    for recipe, expected in (
        (
            "[{kind: sharpen, b_factor: 0}, {kind: zone, radius: 5}]",
            r"step 2 \(zone\): needs a model in the map's frame",
        ),
        ("[{kind: threshold, level: 50}]", r"step 1 \(threshold\): no voxel is above 50; the map's largest value is"),
        ("[{kind: dust, size: 500}]", r"step 1 \(dust\): all .* connected parts extend no more than 400 voxels"),
        ("[{kind: resample, voxel_size: 20}]", r"step 1 \(resample\): .* would keep fewer than 8 at 20 A"),
    ):
        with pytest.raises(MapError, match=expected) as raised:
            preprocess(density, steps(recipe))
        assert "\n" not in str(raised.value)
    with pytest.raises(MapError, match=r"step 1 \(zone\): no voxel lies within 5 A"):
        preprocess(density, steps(PAPER["p-glycoprotein"]), np.full((3, 3), 500.0))


def test_steps_that_make_no_sense_are_no_recipe() -> None:
    for text in (
        "[{kind: blur}]",
        "[{kind: zone}]",
        "[{kind: zone, radius: -5}]",
        "[{kind: zone, radius: 5, depth: 1}]",
    ):
        with pytest.raises(ValidationError):
            steps(text)
