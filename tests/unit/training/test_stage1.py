"""A step of stage 1: maps of several resolutions, and memory that grows with the protein and no faster."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.stage1_cost import Case, stage1_of
from cryofound.config import Stage1Config
from cryofound.maps.density_map import Grid
from cryofound.physics.correlation import ncc
from cryofound.physics.density import render_gaussian
from cryofound.physics.stereochemistry import stereochemistry, stereochemistry_loss
from cryofound.training.live_tensors import LiveTensors
from cryofound.training.noise import Noise
from cryofound.training.stage1 import Stage1, Stage1Batch, loss_weights, rendered_misfit


@pytest.mark.shared
def test_maps_of_different_resolution_count_as_each_alone(shared_data: Path, tmp_path: Path):
    stage = stage1_of(Case(atoms=300, maps=3, box_size=40, voxel_size=2.0, resolution=6.0), shared_data, tmp_path)
    maps = stage.batch(0, 0, 1).density
    system = torch.zeros(3, dtype=torch.long)
    resolution = (6.0, 9.0, 6.0)

    def misfit(rows: list[int]) -> float:
        batch = Stage1Batch(maps[rows], system[rows], tuple(resolution[row] for row in rows))
        return stage.losses(stage.module(), batch, Noise(0, 0))["misfit"].item()

    alone = [misfit([row]) for row in range(3)]
    assert alone[1] != pytest.approx(alone[0], rel=0.05)
    assert misfit([0, 1, 2]) == pytest.approx(sum(alone) / 3, rel=1e-5)


@pytest.mark.shared
def test_memory_grows_with_atoms_and_voxels(shared_data: Path, tmp_path: Path):
    """Four times the atoms and the voxels; anything over all pairs of atoms, or atoms and cells, would be 16 times."""
    peaks = []
    for atoms, box_size in ((1500, 56), (6000, 88)):
        folder = tmp_path / str(atoms)
        case = Case(atoms=atoms, maps=2, box_size=box_size, voxel_size=1.5, resolution=5.0)
        with LiveTensors() as live:
            stage = stage1_of(case, shared_data, folder)
            batch = stage.batch(0, 0, 1)
            stage.losses(stage.module(), batch, Noise(0, 0))["total"].backward()
        peaks.append(live.peak)
    assert peaks[1] < 4.2 * peaks[0]


@pytest.mark.shared
def test_stereochemistry_of_a_batch_is_that_of_each_of_its_systems(shared_data: Path, tmp_path: Path):
    large, small = (stage_with(shared_data, tmp_path / str(atoms), atoms).systems[0] for atoms in (400, 250))
    systems = {"large": replace(large, system_id="large"), "small": replace(small, system_id="small")}
    stage = stage_with(shared_data, tmp_path / "both", 250)
    both = Stage1(stage.recipe, systems, stage.shards)
    order = torch.tensor([1, 0, 1])  # small, large, small
    positions = both.shelves[order].molecules.reference_xyz.clone()
    positions += 0.1 * torch.randn(positions.shape, generator=torch.Generator().manual_seed(0))
    found = both._stereochemistry(positions, order)
    for row, system in enumerate((small, large, small)):
        atoms = positions[row : row + 1, : system.reference.n_atoms]
        tables = stereochemistry(system.reference)
        expected = stereochemistry_loss(atoms, tables, both.recipe.stereochemistry)
        torch.testing.assert_close(found[row : row + 1], expected)


@pytest.mark.shared
def test_a_diverged_network_gives_a_loss_that_is_not_finite(shared_data: Path, tmp_path: Path):
    stage = stage_with(shared_data, tmp_path / "one", 250)
    module = stage.module()
    with torch.no_grad():
        next(module.parameters()).fill_(torch.inf)
    losses = stage.losses(module, stage.batch(0, 0, 1), Noise(0, 0))
    assert not torch.isfinite(losses["total"])


def stage_with(shared_data: Path, folder: Path, atoms: int) -> Stage1:
    folder.mkdir()
    return stage1_of(Case(atoms=atoms, maps=1, box_size=40, voxel_size=2.0, resolution=6.0), shared_data, folder)


@pytest.mark.gpu
@pytest.mark.shared
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_on_cuda_has_the_losses_of_the_cpu(shared_data: Path, tmp_path: Path):
    stage = stage_with(shared_data, tmp_path / "one", 400)
    batch, losses = stage.batch(0, 0, 1), {}
    for device in ("cpu", "cuda"):
        module = stage.module().eval().to(device)
        losses[device] = stage.losses(module, batch, Noise(0, 0))
    for name in ("misfit", "bond", "peptide", "residue", "stereochemistry"):
        assert losses["cuda"][name].item() == pytest.approx(losses["cpu"][name].item(), rel=0.2), name


@pytest.mark.shared
def test_a_family_has_its_own_weights(shared_data: Path, tmp_path: Path):
    config = Stage1Config(turning_weight=0.5, family_weights={"other": {"turning": 2.0}})
    system = stage_with(shared_data, tmp_path / "one", 250).systems[0]
    systems = [system, replace(system, family="other")]
    assert loss_weights("turning", config, systems).tolist() == [0.5, 2.0]
    assert loss_weights("bond", config, systems).tolist() == pytest.approx([config.bond_weight] * 2)


@pytest.mark.shared
def test_decoding_without_identity_depends_on_neither_sequence_nor_residual(shared_data: Path, tmp_path: Path):
    stage = stage_with(shared_data, tmp_path / "one", 250)
    recipe = stage.recipe.model_copy(
        update={"stage1": stage.recipe.stage1.model_copy(update={"identity_dropout": 1.0})}
    )
    other = replace(stage.systems[0].reference, residue_type=(stage.systems[0].reference.residue_type + 1) % 20)
    losses = []
    for reference, residual in ((stage.systems[0].reference, 0.0), (other, 1.0)):
        system = replace(stage.systems[0], reference=reference)
        made = Stage1(recipe, {system.system_id: system}, stage.shards)
        module = made.module()
        torch.nn.init.constant_(module.system_residual.weight, residual)
        torch.nn.init.normal_(module.decoder.atom_field.rigid.weight, generator=torch.Generator().manual_seed(0))
        losses.append(made.losses(module, made.batch(0, 0, 1), Noise(0, 0))["misfit"].item())
    assert losses[0] == losses[1]


def test_a_coarse_misfit_is_that_of_the_map_rendered_at_once():
    generator = torch.Generator().manual_seed(0)
    grid, amplitude = Grid.centred(40, 2.0), torch.full((2, 60), 6.0)
    positions, there = (6.0 * torch.randn(2, 60, 3, generator=generator) for _ in range(2))
    for resolution in (6.0, 12.0, 20.0):
        density = render_gaussian(there, amplitude, grid, resolution)
        expected = 1 - ncc(render_gaussian(positions, amplitude, grid, resolution), density)
        found = rendered_misfit(positions, amplitude, density, (resolution, resolution), grid)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
