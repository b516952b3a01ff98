"""Systems of several boxes and sizes: a batch sees what each of its systems alone would see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryofound.config import Recipe
from cryofound.ensemble.system import State, System
from cryofound.maps.density_map import Grid
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.chains import joined
from cryofound.training.shelves import Shelves, make_shelves
from cryofound.training.stage1 import build_vae
from tests.made_proteins import made_protein

RECIPE = Recipe.model_validate(
    {
        "name": "shelves",
        "entries": [],
        "grid": {"box_size": [32, 48], "voxel_size": 2.0},
        "model": {
            "encoder_width": 16, "decoder_width": 16, "encoder_depth": 1, "decoder_depth": 1, "feature_channels": 8,
            "token_width": 16, "atom_field_width": 16, "latent_channels": 4,
        },
    }
)  # fmt: skip


def system_of(name: str, model: AtomicModel, box_size: int, symmetry: str = "C1") -> System:
    model = model.moved(model.positions_xyz - model.positions_xyz.mean(0))
    return System(
        name, "made", "train", model, np.arange(model.n_residues, dtype=np.float32),
        (State("a", 1.0, 8.0, "train"),), model.positions_xyz[None], np.ones((1, model.n_atoms), dtype=bool),
        Grid.centred(box_size, 2.0), symmetry=symmetry,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shelves() -> Shelves:
    models = [made_protein(20, seed=0), made_protein(30, seed=1), made_protein(24, seed=2)]
    boxes = (32, 48, 32)
    return make_shelves(
        RECIPE, [system_of(f"s{row}", *each) for row, each in enumerate(zip(models, boxes, strict=True))]
    )


def decoded(shelves: Shelves, systems: list[int]) -> torch.Tensor:
    """Displacements by a VAE that moves, from codes that are the same for a system in any batch."""
    vae = build_vae(RECIPE, 3).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
        shelf = shelves[torch.tensor(systems)]
        code, _ = vae.encode(shelf.reference, shelf.reference, shelf.tokens)
        return vae.decode(code, shelf.molecules, shelf.tokens)


def test_a_batch_moves_each_system_as_it_would_alone(shelves: Shelves):
    together = decoded(shelves, [0, 2, 0])
    for row, system in enumerate((0, 2, 0)):
        alone = decoded(shelves, [system])[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-4)
        assert not together[row, len(alone) :].any()
    assert together.abs().max() > 0.01


def test_a_batch_is_padded_to_its_own_largest_and_has_its_own_box(shelves: Shelves):
    sizes = shelves.sizes()
    for system, box in ((0, 32), (1, 48)):
        shelf = shelves[torch.tensor([system])]
        assert shelf.grid.shape_zyx == (box, box, box)
        shapes = [shelf.molecules.amplitude.shape[1], shelf.molecules.residue_mask.shape[1], shelf.tokens.mask.shape[1]]
        assert shapes == sizes[system].tolist()


def test_a_batch_of_two_boxes_is_refused(shelves: Shelves):
    with pytest.raises(ValueError, match="2 box sizes"):
        shelves[torch.tensor([0, 1])]


def test_copies_that_are_tied_move_alike_and_free_ones_do_not():
    chain = made_protein(16, seed=3)
    out = chain.moved(chain.positions_xyz - chain.positions_xyz.mean(0) + np.array([9.0, 0.0, 0.0]))
    turn = np.diag([-1.0, -1.0, 1.0])
    turned = replace(out.moved(out.positions_xyz @ turn), chain_id=np.array(["B"] * out.n_residues))
    dimer = joined([out, turned])
    halves = {}
    for symmetry in ("C1", "C2"):
        shelves = make_shelves(RECIPE, [system_of("dimer", dimer, 48, symmetry)])
        halves[symmetry] = decoded(shelves, [0])[0].numpy().reshape(2, -1, 3)
    difference = {name: np.abs(first @ turn - second).max() for name, (first, second) in halves.items()}
    assert difference["C2"] < 1e-4 < 1e-2 < difference["C1"]
