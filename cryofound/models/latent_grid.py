"""The latent grid: which of its voxels a reference occupies, where they lie, and who is whose neighbour.

Only occupied latent voxels carry a code (the latent contract, DESIGN.md section 5). All networks work on them as a list
of tokens with a table of neighbours; a convolution over the table equals one over the dense grid with zeros elsewhere,
for the cost of the protein instead of the box.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

STRIDE = 8  # map voxels per latent voxel and axis
OFFSETS = tuple((dz, dy, dx) for dz in (-1, 0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
CHILDREN = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))


@dataclass(frozen=True)
class TokenGrid:
    """Occupied latent voxels of a batch, padded to the most.

    index (batch, token) place in the flattened (z, y, x) grid of `edge`^3; mask (batch, token) bool; neighbours (batch,
    token, 27) rows of the token list in the order of OFFSETS, the number of tokens where there is none; centres_xyz
    (batch, token, 3) angstrom.
    """

    index: Tensor
    mask: Tensor
    neighbours: Tensor
    centres_xyz: Tensor
    edge: int

    def rows(self, index: Tensor) -> "TokenGrid":
        """The token lists at `index` (n,), repeats allowed."""
        return TokenGrid(
            self.index[index], self.mask[index], self.neighbours[index], self.centres_xyz[index], self.edge
        )

    def trimmed(self) -> "TokenGrid":
        """The same token lists without the places that are padding in all of them."""
        count, whole = int(self.mask.sum(1).max()), self.mask.shape[1]
        neighbours = self.neighbours[:, :count]
        neighbours = torch.where(neighbours == whole, count, neighbours)
        return TokenGrid(
            self.index[:, :count], self.mask[:, :count], neighbours, self.centres_xyz[:, :count], self.edge
        )

    def to(self, device: torch.device | str) -> "TokenGrid":
        """The same tokens on another device."""
        index, mask = self.index.to(device), self.mask.to(device)
        return TokenGrid(index, mask, self.neighbours.to(device), self.centres_xyz.to(device), self.edge)

    def lookup(self) -> Tensor:
        """(batch, edge^3) row of the token at each place of the grid, the number of tokens where it is unoccupied."""
        count = self.index.shape[1]
        rows = torch.arange(count, device=self.index.device).expand_as(self.index)
        table = self.index.new_full((len(self.index), self.edge**3 + 1), count)
        # padding is written to a spare last column
        return table.scatter(1, torch.where(self.mask, self.index, self.edge**3), rows)[:, :-1]

    def child_neighbours(self) -> Tensor:
        """(batch, 8 * token, 27) neighbours on the grid of half the spacing, children of a token in CHILDREN order."""
        parent, child = [], []
        for place in CHILDREN:
            for offset in OFFSETS:
                moved = [a + b for a, b in zip(place, offset, strict=True)]
                parent.append(OFFSETS.index((moved[0] // 2, moved[1] // 2, moved[2] // 2)))
                child.append(CHILDREN.index((moved[0] % 2, moved[1] % 2, moved[2] % 2)))
        rows = self.neighbours[:, :, parent]
        count = self.mask.shape[1]
        child_rows = rows * 8 + torch.tensor(child, device=rows.device)
        return torch.where(rows == count, 8 * count, child_rows).unflatten(2, (8, 27)).flatten(1, 2)


def latent_centres(box_size: int, voxel_size: float, device: torch.device | str = "cpu") -> Tensor:
    """(edge^3, 3) xyz angstrom of the latent voxels of a centred cubic box, in (z, y, x) order of the grid."""
    edge = box_size // STRIDE
    axis = (torch.arange(edge, device=device, dtype=torch.float32) - 0.5 * (edge - 1)) * STRIDE * voxel_size
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def occupied_tokens(
    reference_xyz: Tensor, atom_mask: Tensor, box_size: int, voxel_size: float, reach: float
) -> TokenGrid:
    """The latent voxels whose cell comes within `reach` angstrom of an atom.

    reference_xyz (batch, atom, 3) angstrom, atom_mask (batch, atom) bool; the box of the batch has `box_size` voxels of
    `voxel_size` angstrom per edge. Boxes that differ by a multiple of 16 voxels have their latent voxels at the same
    places, and a molecule that fits into both has the same tokens in either. `reach` must be at least a quarter of the
    diagonal of a latent voxel, so that the eight points of the feature grid around an atom are occupied (ValueError
    otherwise).
    """
    least = 3**0.5 * voxel_size * STRIDE / 4
    if reach < least:
        raise ValueError(f"occupancy_reach {reach} A is under {least:.2f} A, what voxels of {voxel_size} A need")
    centres = latent_centres(box_size, voxel_size, reference_xyz.device)
    edge = box_size // STRIDE
    occupied = torch.stack(
        [
            _occupied(xyz[mask], edge, STRIDE * voxel_size, reach)
            for xyz, mask in zip(reference_xyz, atom_mask, strict=True)
        ]
    )
    count = int(occupied.sum(1).max())
    # a stable sort brings the occupied places, in grid order, to the front
    index = torch.argsort((~occupied).to(torch.int8), dim=1, stable=True)[:, :count]
    mask = occupied.gather(1, index)
    tokens = TokenGrid(index, mask, index.new_zeros(0), centres[index], edge)
    return TokenGrid(index, mask, _neighbours(tokens), centres[index], edge)


def _occupied(atoms_xyz: Tensor, edge: int, cell: float, reach: float) -> Tensor:
    """(edge^3,) bool: cells within `reach` of an atom (atom, 3), each atom asking only the cells around its own."""
    span = math.floor(reach / cell) + 1
    steps = torch.arange(-span, span + 1, device=atoms_xyz.device)
    place = (atoms_xyz / cell + 0.5 * edge).floor().long()[:, None] + steps[:, None]
    centre = (place - 0.5 * (edge - 1)) * cell
    gap = ((atoms_xyz[:, None] - centre).abs() - 0.5 * cell).clamp_min(0).square()
    # a place outside the box is out of reach
    gap = torch.where((place >= 0) & (place < edge), gap, torch.inf)
    x, y, z = gap.unbind(-1)
    near = z[:, :, None, None] + y[:, None, :, None] + x[:, None, None, :] <= reach**2
    atom, *step_zyx = near.nonzero(as_tuple=True)
    place_z, place_y, place_x = (place[atom, step, 2 - axis] for axis, step in enumerate(step_zyx))
    occupied = torch.zeros(edge**3, dtype=torch.bool, device=atoms_xyz.device)
    occupied[(place_z * edge + place_y) * edge + place_x] = True
    return occupied


def _neighbours(tokens: TokenGrid) -> Tensor:
    edge, count = tokens.edge, tokens.index.shape[1]
    place = torch.stack([tokens.index // edge**2, tokens.index // edge % edge, tokens.index % edge], dim=-1)
    moved = place[:, :, None] + torch.tensor(OFFSETS, device=place.device)
    inside = ((moved >= 0) & (moved < edge)).all(-1) & tokens.mask[..., None]
    flat = ((moved[..., 0] * edge + moved[..., 1]) * edge + moved[..., 2]).clamp(0, edge**3 - 1)
    rows = tokens.lookup().gather(1, flat.flatten(1)).view_as(flat)
    return torch.where(inside, rows, count)
