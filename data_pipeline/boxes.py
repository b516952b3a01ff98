"""The box of a system: the smallest of a recipe's that holds the reference and every state of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cryofound.catalog.entry import CatalogEntry, MapState
from cryofound.maps.density_map import Grid
from cryofound.reference.canonical import is_inside, place_state
from data_pipeline.references import fitted_model
from data_pipeline.stages import PlacedReference, named, true_state


def smallest_grid(entry: CatalogEntry, placed: PlacedReference, grids: Sequence[Grid], cache: Path) -> Grid:
    """The first of `grids`, sorted by size, with room for all known atoms of a system.

    Where none has room it is the last, and whoever makes the maps says which state sticks out (`check_inside`). States
    that are measured maps without a model count by their reference.
    """
    if len(grids) == 1:
        return grids[0]
    row = 0
    with named(entry):
        for positions in _known_positions(entry, placed, cache):
            while row < len(grids) - 1 and not is_inside(positions, grids[row]):
                row += 1
    return grids[row]


def _known_positions(entry: CatalogEntry, placed: PlacedReference, cache: Path) -> Iterator[np.ndarray]:
    """Atoms (atom, 3) of the reference and of the states in the canonical frame."""
    yield placed.placement.reference.positions_xyz
    for state in entry.states:
        if isinstance(state, MapState):
            fitted = fitted_model(entry, state, placed.own, cache)
            if fitted is not None:
                yield place_state(fitted, placed.placement)[0].positions_xyz
        else:
            yield true_state(entry, state, placed, cache)[0].positions_xyz
