"""Draws: each from its own noise, counted only if it is sound, until there are enough or no hope of it."""

import multiprocessing
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.config import RepairConfig, SamplingConfig
from cryofound.ensemble.system import Outline, System
from cryofound.errors import SamplingError
from cryofound.maps.density_map import Grid
from cryofound.sampling.drawing import HOME, conditioned, decode_latents, decoded, draw_latents, residual_spread
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.members import Member
from cryofound.sampling.representatives import representatives
from cryofound.sampling.zero_shot import draw_valid, sample_ensemble
from cryofound.training.stage1 import build_vae
from cryofound.training.stage2 import build_velocity
from tests.made_models import RECIPE
from tests.made_peptides import made_peptide

SETTINGS = SamplingConfig.model_validate(
    {"samples": 5, "solver_steps": 4, "repair": {"iterations": 20}, "validity": {"ramachandran_outliers": 0.2}}
)


@pytest.fixture(scope="module")
def system() -> System:
    helix = made_peptide(["ALA", "LEU", "GLU", "LYS", "VAL", "SER"] * 3, phi=-57.0, psi=-47.0)
    helix = helix.moved(helix.positions_xyz - helix.positions_xyz.mean(0))
    truth = np.zeros((0, helix.n_atoms, 3), dtype=np.float32)
    place = np.arange(helix.n_residues, dtype=np.float32)
    return System("helix", "f", "held_out", helix, place, (), truth, truth[..., 0] > 0, Grid.centred(48, 2.0))


@pytest.fixture(scope="module")
def model(system: System) -> FlowModel:
    """Weights by chance, which move atoms by a few tenths of an angstrom."""
    generator = torch.Generator().manual_seed(0)
    vae, velocity = build_vae(RECIPE, 1), build_velocity(RECIPE)
    with torch.no_grad():
        for module, scale in ((vae, 0.05), (velocity, 0.2)):
            for weight in module.parameters():
                weight += scale * torch.randn(weight.shape, generator=generator)
    outline = Outline("x", "f", "train", system.reference, system.family_position, (), system.grid)
    residual = np.full(RECIPE.model.system_residual_width, 2.0, dtype=np.float32)
    member = Member(outline, np.zeros((0, system.reference.n_atoms, 3)), residual, True, np.ones(18, dtype=bool))
    return FlowModel(RECIPE, ("x",), vae.eval(), velocity.eval(), (member,))


def drawn(model: FlowModel, system: System, settings: SamplingConfig, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(draw_valid(model, system, settings, seed))
    return np.concatenate([each.number for each in chunks]), np.concatenate([each.positions_xyz for each in chunks])


def test_a_sample_is_the_same_whatever_is_drawn_beside_it(model: FlowModel, system: System):
    numbers, five = drawn(model, system, SETTINGS)
    assert numbers.tolist() == [0, 1, 2, 3, 4]
    _, two = drawn(model, system, SETTINGS.model_copy(update={"samples": 2}))
    np.testing.assert_allclose(five[:2], two, atol=1e-3)
    assert np.array_equal(five, drawn(model, system, SETTINGS)[1])
    assert np.abs(five - drawn(model, system, SETTINGS, seed=1)[1]).max() > 0.05
    what = conditioned(model, system)
    together, alone = (draw_latents(what, SETTINGS, 0, numbers) for numbers in (range(5), [3]))
    torch.testing.assert_close(together[3:4], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", [0, 20])
def test_threads_change_nothing(model: FlowModel, system: System, pool: int):
    settings = SETTINGS.model_copy(update={"pool": pool})
    before = torch.get_num_threads()
    _, one = drawn(model, system, settings)
    torch.set_num_threads(2)
    try:
        _, two = drawn(model, system, settings)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere samples are drawn by threads")
def test_a_killed_process_is_told_in_one_line(model: FlowModel, system: System):
    many = SETTINGS.model_copy(update={"samples": 2000})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        chunks = draw_valid(model, system, many, 0)
        next(chunks)
        multiprocessing.active_children()[0].kill()
        with pytest.raises(SamplingError, match=r"^helix: a process that draws samples was killed.*OMP_NUM_THREADS=1"):
            list(chunks)
    finally:
        torch.set_num_threads(before)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere samples are drawn by threads")
def test_processes_do_not_outlive_the_one_that_is_killed(model: FlowModel, system: System):
    spawn = multiprocessing.get_context("spawn")
    heard, told = spawn.Pipe(duplex=False)
    parent = spawn.Process(target=_draw_without_end, args=(model, system, told))
    parent.start()
    drawing = heard.recv()
    assert len(drawing) == 2
    parent.kill()
    parent.join()
    patience = time.monotonic() + 20
    while any(_runs(each) for each in drawing):
        assert time.monotonic() < patience
        time.sleep(0.05)


def _draw_without_end(model: FlowModel, system: System, told: Connection) -> None:
    torch.set_num_threads(2)
    for _ in draw_valid(model, system, SETTINGS.model_copy(update={"samples": 10**6}), 0):
        told.send([each.pid for each in multiprocessing.active_children()])


def _runs(process: int) -> bool:
    """Whether there is such a process that has not ended (one that nobody asked for its exit code stays as a Z)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_is_yielded_is_its_latent_repaired(model: FlowModel, system: System):
    (chunk,) = draw_valid(model, system, SETTINGS, 0)
    start = decode_latents(model, system, chunk.latent)
    moved = np.sqrt(((chunk.positions_xyz - start) ** 2).sum(-1).mean(-1))
    assert chunk.moved == pytest.approx(moved, rel=1e-3)
    assert chunk.dropped == 0


def test_samples_that_are_not_valid_are_replaced_by_later_draws(model: FlowModel, system: System):
    (whole,) = draw_valid(model, system, SETTINGS, 0)
    bound = float(np.sort(whole.moved)[2:4].mean())  # between two of them: rounding decides nothing
    strict = SETTINGS.repair.model_copy(update={"most_movement": bound})
    patient = SETTINGS.model_copy(update={"repair": strict, "attempts_per_sample": 20})
    chunks = list(draw_valid(model, system, patient, 0))
    numbers = np.concatenate([each.number for each in chunks])
    assert len(numbers) == 5
    assert numbers[:3].tolist() == whole.number[whole.moved <= bound].tolist()
    assert np.concatenate([each.moved for each in chunks]).max() <= bound
    assert chunks[-1].dropped >= 2


def test_without_hope_it_says_what_was_wrong(model: FlowModel, system: System):
    strict = SETTINGS.repair.model_copy(update={"most_movement": 1e-6})
    with pytest.raises(SamplingError, match=r"helix: 0 of 5 samples are valid after 20 draws \(moved too far .* 20"):
        list(draw_valid(model, system, SETTINGS.model_copy(update={"repair": strict}), 0))


def test_residuals_are_drawn_as_wide_as_the_members_have_them(model: FlowModel, system: System):
    latent = draw_latents(conditioned(model, system), SETTINGS, 0, range(2)).numpy()
    spread = residual_spread(model, system, latent, 0, 6)
    assert spread.shape == (6, 2, system.reference.n_atoms, 3)
    own = decode_latents(model, system, latent)
    assert np.abs(spread - own).max() > 0.01
    silent = replace(model, members=(replace(model.members[0], residual=np.zeros(16, dtype=np.float32)),))
    np.testing.assert_allclose(residual_spread(silent, system, latent, 0, 2), np.stack([own, own]), atol=1e-5)


def test_with_a_pool_come_those_that_stand_for_it(model: FlowModel, system: System):
    pooled = SETTINGS.model_copy(update={"pool": 12, "repair": RepairConfig(iterations=0), "samples": 3})
    what = conditioned(model, system)
    everything = decoded(what, draw_latents(what, pooled, 0, range(HOME, 12)))
    np.testing.assert_allclose(everything[1:], decoded(what, draw_latents(what, pooled, 0, range(12))), atol=1e-4)
    wanted = representatives(system.reference, everything, 3, kept=1)
    told = replace(model, recipe=model.recipe.model_copy(update={"sampling": pooled}))
    ensemble = sample_ensemble(told, system, 0)
    np.testing.assert_allclose(ensemble.positions_xyz, everything[wanted.row], atol=1e-4)
    assert ensemble.share.tolist() == wanted.share.tolist()
    loose = pooled.model_copy(update={"validity": RECIPE.sampling.validity})
    numbers, _ = drawn(model, system, loose)
    assert numbers.tolist() == [row - 1 for row in wanted.row.tolist()]
    assert HOME in numbers, "the reference is one of them"
    longer, _ = drawn(model, system, loose.model_copy(update={"samples": 11}))
    assert sorted(longer.tolist()) == sorted({*longer.tolist()})
    assert HOME in longer
    more, _ = drawn(model, system, loose.model_copy(update={"samples": 14}))
    assert more.tolist() == list(range(14)), "a pool of fewer than are asked for chooses nothing"
