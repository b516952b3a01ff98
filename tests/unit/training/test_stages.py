"""Both stages on a small hinge: a helix-like chain whose second half turns by a known angle."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryofound.config import Recipe
from cryofound.ensemble.shards import ShardIndex, shard_key, write_shard
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.models.latent_grid import occupied_tokens
from cryofound.physics.correlation import ncc
from cryofound.physics.density import render_gaussian
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.zero_shot import sample_system
from cryofound.structure.atomic_model import ATOM_NAMES, AtomicModel
from cryofound.training.latents import LatentSet, nearest_tokens, with_interpolations
from cryofound.training.molecules import molecule_batch
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1, gaussian_kl
from cryofound.training.stage2 import Stage2

RECIPE = Recipe.model_validate(
    {
        "name": "hinge",
        "entries": [],
        "grid": {"box_size": 32, "voxel_size": 2.0},
        "model": {
            "encoder_width": 32, "decoder_width": 32, "encoder_depth": 1, "decoder_depth": 1, "feature_channels": 16,
            "token_width": 16, "atom_field_width": 32, "latent_channels": 4,
        },
        "stage1": {"steps": 200, "batch_size": 2, "learning_rate": 5e-3, "warmup_steps": 5},
        "sampling": {"repair": {"iterations": 0}},
        "stage2": {"steps": 300, "batch_size": 16, "width": 32, "depth": 2, "heads": 2, "learning_rate": 5e-3,
                   "warmup_steps": 10},
    }
)  # fmt: skip


def reference(residues: int = 24) -> AtomicModel:
    """A compact spiral of residues, four backbone atoms each, centred."""
    turn = np.arange(residues) * math.radians(100)
    alpha = np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(residues)], axis=1)
    offsets = np.array([[-0.9, 0.0, -0.8], [0, 0, 0], [0.9, 0.6, 0.7], [1.0, 1.7, 0.9]])
    xyz = (alpha[:, None] + offsets).reshape(-1, 3)
    names = [ATOM_NAMES.index(name) for name in ("N", "CA", "C", "O")]
    return AtomicModel(
        (xyz - xyz.mean(0)).astype(np.float32),
        np.array(names * residues),
        np.array([1, 0, 0, 2] * residues),
        np.repeat(np.arange(residues), 4),
        np.arange(residues) % 20,
        np.arange(1, residues + 1),
        np.array(["A"] * residues),
    )


def bent(model: AtomicModel, degrees: float) -> np.ndarray:
    """The upper half turned about x."""
    angle = math.radians(degrees)
    rotation = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    xyz = model.positions_xyz.copy()
    upper = xyz[:, 2] > 0
    xyz[upper] = xyz[upper] @ rotation.T.astype(np.float32)
    return xyz


@pytest.fixture(scope="module")
def hinge(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, System], ShardIndex]:
    folder = tmp_path_factory.mktemp("shards")
    grid = Grid.centred(32, 2.0)
    model = reference()
    truth = np.stack([bent(model, degrees) for degrees in (-20.0, 20.0)])
    states = tuple(State(name, 1.0, 6.0, "train") for name in ("a", "b"))
    system = System(
        "hinge", "hinges", "train", model, np.arange(24, dtype=np.float32), states, truth,
        np.ones(truth.shape[:2], dtype=bool), grid,
    )  # fmt: skip
    amplitudes = molecule_batch([system], [0]).amplitude.expand(2, -1)
    density = render_gaussian(torch.from_numpy(truth), amplitudes, grid, 6.0).numpy()
    samples = [
        (
            shard_key("hinge", state.state_id),
            density[row],
            {
                "system_id": "hinge",
                "state_id": state.state_id,
                "state_index": row,
                "population": 1.0,
                "resolution": 6.0,
            },
        )
        for row, state in enumerate(states)
    ]
    write_shard(Path(folder) / "train-000000.tar", samples)
    return {"hinge": system}, ShardIndex.open(folder)


def fit(stage, module: torch.nn.Module) -> list[float]:
    """Plain AdamW over the stage's own batches and losses."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay)
    totals = []
    for step in range(stage.steps):
        optimizer.param_groups[0]["lr"] = stage.learning_rate * (1 - step / stage.steps)
        losses = stage.losses(module, stage.batch(step, 0, 1), Noise(0, step))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        totals.append(losses["total"].item())
    return totals


@pytest.fixture(scope="module")
def trained(hinge) -> FlowModel:
    systems, shards = hinge
    stage1 = Stage1(RECIPE, systems, shards)
    vae = stage1.module()
    fit(stage1, vae)
    stage2 = Stage2(RECIPE, systems, shards, vae.eval())
    velocity = stage2.module()
    fit(stage2, velocity)
    return FlowModel(RECIPE, ("hinge",), vae, velocity.eval())


def test_an_untrained_vae_leaves_the_reference_where_it_is(hinge):
    systems, shards = hinge
    stage = Stage1(RECIPE, systems, shards)
    losses = stage.losses(stage.module(), stage.batch(0, 0, 1), Noise(0, 0))
    maps = torch.stack([torch.from_numpy(shards.sample(row)[0]) for row in range(2)])
    static = ncc(stage.shelves[torch.tensor([0])].reference.expand(2, -1, -1, -1), maps).mean()
    assert losses["ncc"].item() == pytest.approx(static.item(), abs=1e-6)
    assert losses["backbone"].item() == pytest.approx(0, abs=1e-7)


def test_batches_of_ranks_make_up_the_global_batch(hinge):
    stage = Stage1(RECIPE, *hinge)
    whole = stage.batch(3, 0, 1).density
    parts = [stage.batch(3, rank, 2).density for rank in range(2)]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


def test_training_recovers_both_states_from_their_maps(hinge, trained):
    systems, shards = hinge
    system = systems["hinge"]
    stage = Stage1(RECIPE, systems, shards)
    rows = torch.tensor([0, 0])
    maps = torch.stack([torch.from_numpy(shards.sample(row)[0]) for row in range(2)])
    with torch.no_grad():
        shelf = stage.shelves[rows]
        mean, _ = trained.vae.encode(maps, shelf.reference, shelf.tokens)
        moved = trained.vae.decode(mean, shelf.molecules, shelf.tokens).numpy()
    static = np.sqrt(((system.truth_xyz - system.reference.positions_xyz) ** 2).sum(-1).mean(-1))
    error = np.sqrt(((system.truth_xyz - system.reference.positions_xyz - moved) ** 2).sum(-1).mean(-1))
    assert (error < 0.35 * static).all()


def test_the_flow_draws_both_states_and_nothing_else(hinge, trained):
    system = hinge[0]["hinge"]
    samples = sample_system(trained, system, seed=1)
    assert samples.shape == (16, system.reference.n_atoms, 3)
    distance = np.sqrt(((samples[:, None] - system.truth_xyz) ** 2).sum(-1).mean(-1))
    assert np.bincount(distance.argmin(1), minlength=2).min() >= 3
    between = np.sqrt(((system.truth_xyz[0] - system.truth_xyz[1]) ** 2).sum(-1).mean(-1))
    assert np.median(distance.min(1)) < 0.25 * between


def test_samples_depend_on_the_seed_alone(hinge, trained):
    system = hinge[0]["hinge"]
    assert np.array_equal(sample_system(trained, system, 5), sample_system(trained, system, 5))
    assert not np.array_equal(sample_system(trained, system, 5), sample_system(trained, system, 6))


def test_codes_outside_the_reference_have_no_effect(trained):
    """Padding of a batch must not leak: a molecule decodes the same alone and beside a larger one."""
    small, large = reference(12), reference(24)
    grid = Grid.centred(32, 2.0)
    systems = [
        System(
            system_id="s",
            family="f",
            split="held_out",
            reference=each,
            family_position=np.arange(each.n_residues, dtype=np.float32),
            states=(),
            truth_xyz=np.zeros((0, each.n_atoms, 3)),
            truth_mask=np.zeros((0, each.n_atoms), dtype=bool),
            grid=grid,
        )
        for each in (small, large)
    ]
    both, alone = (molecule_batch(some, [-1] * len(some), RECIPE.model) for some in (systems, systems[:1]))
    tokens, single = (trained.vae.tokens(each, RECIPE.grid.box_sizes[0]) for each in (both, alone))
    latent = torch.randn(2, tokens.mask.shape[1], 4, generator=torch.Generator().manual_seed(0))
    count = single.mask.shape[1]
    with torch.no_grad():
        beside = trained.vae.decode(latent, both, tokens)[0, : small.n_atoms]
        lonely = trained.vae.decode(latent[:1, :count], alone, single)[0]
    torch.testing.assert_close(beside, lonely, rtol=1e-4, atol=1e-4)


def test_kl_is_the_closed_form_over_occupied_tokens():
    mean = torch.tensor([[[1.0, 0.0], [9.0, 9.0]]])
    log_variance = torch.tensor([[[0.0, math.log(0.5)], [0.0, 0.0]]])
    mask = torch.tensor([[True, False]])
    wanted = 0.5 * (1.0 + (0.5 - 1 - math.log(0.5))) / 2
    assert gaussian_kl(mean, log_variance, mask).item() == pytest.approx(wanted)


def test_interpolated_latents_lie_between_neighbours_of_one_system():
    latents = LatentSet(torch.arange(3.0).view(3, 1, 1) * 6, torch.tensor([0, 0, 1]), torch.tensor([0.25, 0.75, 1.0]))
    more = with_interpolations(latents, 2)
    assert sorted(more.latent.flatten().tolist()) == [0, 2, 4, 6, 12]
    assert more.weight[more.system == 0].sum().item() == pytest.approx(1)
    assert more.weight[more.system == 1].tolist() == [1]


def test_occupied_cells_cover_every_corner_of_every_atom(hinge):
    molecule = molecule_batch([hinge[0]["hinge"]], [0])
    tokens = occupied_tokens(molecule.reference_xyz, molecule.atom_mask, 32, 2.0, RECIPE.model.occupancy_reach)
    low = (molecule.reference_xyz[0] / 2.0 + 15.5).floor().long()
    for step in torch.cartesian_prod(*[torch.tensor([0, 1])] * 3):
        x, y, z = ((low + step) // 8).unbind(-1)
        assert set(((z * 4 + y) * 4 + x).tolist()) <= set(tokens.index[0][tokens.mask[0]].tolist())


def test_codes_are_lent_within_a_family_and_come_to_the_nearest_place(hinge):
    """Two like hinges of one family and one of another: some of the codes are a relative's, none a stranger's."""
    systems, shards = hinge
    system = systems["hinge"]
    relative = replace(system, system_id="twin", reference=system.reference.moved(system.reference.positions_xyz + 1.0))
    stranger = replace(system, system_id="zebra", family="others")
    rows = [shards.sample(row) for row in range(len(shards))]
    samples = [
        (shard_key(name, str(row)), density, {**meta, "system_id": name})
        for name in ("hinge", "twin", "zebra")
        for row, (density, meta) in enumerate(rows)
    ]
    folder = Path(shards.samples[0].path).parent / "families"
    write_shard(folder / "train-000000.tar", samples)
    everyone = {"hinge": system, "twin": relative, "zebra": stranger}
    recipe = RECIPE.model_copy(update={"stage2": RECIPE.stage2.model_copy(update={"batch_size": 300})})
    stage = Stage2(recipe, everyone, ShardIndex.open(folder), Stage1(recipe, everyone, shards).module().eval())
    # motions that say whose they are
    stage.lending.home.zero_()
    stage.lending.motion[:] = stage.latents.system.float()[:, None, None]
    batch = stage.batch(0, 0, 1)
    assert batch.latent.shape[1] == stage.shelves[batch.system].tokens.mask.shape[1]
    lent = batch.latent[:, 0, 0].long() != batch.system
    assert set(batch.system[lent].tolist()) == {0, 1}
    share = lent[batch.system < 2].float().mean().item()
    assert share == pytest.approx(recipe.stage2.relatives, abs=0.12)


def test_coupling_by_optimal_transport_shortens_the_paths(hinge):
    """An untrained network says zero, so that its loss is the mean squared length of the paths."""
    losses = {}
    for coupling in ("independent", "optimal_transport"):
        recipe = RECIPE.model_copy(update={"stage2": RECIPE.stage2.model_copy(update={"coupling": coupling})})
        stage = Stage2(recipe, *hinge, Stage1(recipe, *hinge).module().eval())
        losses[coupling] = stage.losses(stage.module(), stage.batch(0, 0, 1), Noise(0, 0))["total"].item()
    assert losses["optimal_transport"] < 0.99 * losses["independent"]


def test_nearest_tokens_are_the_nearest():
    xyz = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)) * 8
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[0, 10:] = False
    tokens = occupied_tokens(xyz, mask, 32, 2.0, 7.0)
    place = nearest_tokens(tokens.rows(torch.tensor([0])), tokens.rows(torch.tensor([1])))[0]
    occupied = tokens.centres_xyz[0][tokens.mask[0]]
    for row in torch.nonzero(tokens.mask[1]).flatten().tolist():
        distance = (occupied - tokens.centres_xyz[1, row]).norm(dim=-1)
        chosen = (tokens.centres_xyz[0, place[row]] - tokens.centres_xyz[1, row]).norm()
        assert tokens.mask[0, place[row]]
        assert chosen.item() == pytest.approx(distance.min().item())
