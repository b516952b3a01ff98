"""A model placed into every training map of a system by rigid bodies: coarse, quick, and from the maps alone."""

from pathlib import Path

import numpy as np

from cryofound.building.fitting import subject
from cryofound.building.series import place_series
from cryofound.building.target import make_target
from cryofound.config import BuildConfig
from cryofound.ensemble.store import read_density, read_mask, read_system, system_folder
from cryofound.maps.density_map import DensityMap
from cryofound.training.guides import guide_file


def place_guides(store: Path, config: BuildConfig, folder: Path, system_id: str) -> None:
    """Write what training/guides.py reads of a system, `<system>.npz`, unless it is there.

    States that training may not see take no part: a model that was found by way of one would know of it.
    """
    path = guide_file(folder, system_id)
    if path.is_file():
        return
    place = system_folder(store, system_id)
    system = read_system(place)
    rows = [row for row, state in enumerate(system.states) if state.split == "train"]
    targets = [
        make_target(
            DensityMap(read_density(place, row), system.grid), system.states[row].resolution, read_mask(place, row)
        )
        for row in rows
    ]
    placed = place_series(subject(system.reference, config), targets, config)
    aside = path.with_suffix(".part.npz")
    np.savez(aside, positions_xyz=np.stack(placed).astype(np.float32), state=np.array(rows, dtype=np.int64))
    aside.replace(path)
