"""Training systems as tensors, those of one box together: what a batch takes its molecules from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cryofound.config import Recipe
from cryofound.ensemble.system import System
from cryofound.maps.density_map import Grid
from cryofound.models.latent_grid import TokenGrid, occupied_tokens
from cryofound.models.molecule import MoleculeBatch
from cryofound.training.molecules import molecule_batch, reference_density


@dataclass(frozen=True)
class Shelf:
    """References of one box, padded to the largest: their molecules, latent tokens and densities (row, z, y, x)."""

    grid: Grid
    molecules: MoleculeBatch
    tokens: TokenGrid
    reference: Tensor


@dataclass(frozen=True)
class Shelves:
    """All training systems; `shelf` and `row` (system,) say where each of them is."""

    shelves: tuple[Shelf, ...]
    shelf: Tensor
    row: Tensor

    def __getitem__(self, systems: Tensor) -> Shelf:
        """Systems of one box (batch,), repeats allowed, padded to the largest of them; ValueError for several boxes."""
        numbers = self.shelf[systems].unique().tolist()
        if len(numbers) != 1:
            raise ValueError(f"systems {systems.tolist()} have {len(numbers)} box sizes, a batch has one")
        whole, rows = self.shelves[numbers[0]], self.row[systems]
        molecules, tokens = whole.molecules.rows(rows).trimmed(), whole.tokens.rows(rows).trimmed()
        return Shelf(whole.grid, molecules, tokens, whole.reference[rows])

    def sizes(self) -> Tensor:
        """(system, 3) int64: atoms, residues and latent tokens of each, which batches are padded in."""
        counts = [
            torch.stack(
                [shelf.molecules.atom_mask.sum(1), shelf.molecules.residue_mask.sum(1), shelf.tokens.mask.sum(1)], 1
            )
            for shelf in self.shelves
        ]
        return torch.stack([counts[shelf][row] for shelf, row in zip(self.shelf, self.row, strict=True)])


def make_shelves(recipe: Recipe, systems: Sequence[System]) -> Shelves:
    """Every system on the shelf of its box; the residual rows are the systems' places in the sequence."""
    boxes = sorted({system.grid.shape_zyx[0] for system in systems})
    members = [[row for row, system in enumerate(systems) if system.grid.shape_zyx[0] == box] for box in boxes]
    place = {system: (shelf, row) for shelf, rows in enumerate(members) for row, system in enumerate(rows)}
    shelves = tuple(_shelf(recipe, [systems[row] for row in rows], rows) for rows in members)
    shelf, row = torch.tensor([place[system] for system in range(len(systems))]).unbind(1)
    return Shelves(shelves, shelf, row)


def _shelf(recipe: Recipe, systems: Sequence[System], numbers: Sequence[int]) -> Shelf:
    grid = systems[0].grid
    molecules = molecule_batch(systems, numbers, recipe.model)
    tokens = occupied_tokens(
        molecules.reference_xyz, molecules.atom_mask, grid.shape_zyx[0], grid.voxel_size, recipe.model.occupancy_reach
    )
    reference = reference_density(molecules, systems, [system.states[0].resolution for system in systems])
    return Shelf(grid, molecules, tokens, reference)
