"""Run in an environment of its own: cryojax's time for the density of the atoms in an .npz file, as one JSON line.

cryojax needs another numpy than boltz. This file therefore imports nothing of CryoFound.
"""

# What it imports is not in the environment that types are checked in.
# pyright: reportMissingImports=false

import json
import statistics
import sys
import time

import numpy as np

REPEATS = 5
BATCHES = 8  # of atoms, as many as keep the windows in memory


def main(path: str) -> None:
    """Render with each width of window; print medians in seconds and errors against `reference`."""
    import equinox
    from cryojax.constants import PengScatteringFactorParameters
    from cryojax.simulator import GaussianMixtureRenderFn, GaussianMixtureVolume

    with np.load(path) as held:
        atoms = {name: held[name] for name in held.files}
    edge, voxel_size = int(atoms["edge"]), float(atoms["voxel_size"])
    # cryojax has the middle of the box at its origin: at voxel edge // 2
    positions = atoms["positions_xyz"] - (edge // 2) * voxel_size
    parameters = PengScatteringFactorParameters(atoms["atomic_number"])
    volume = GaussianMixtureVolume.from_tabulated_parameters(positions, parameters, atoms["b_factor"])
    found = {}
    for width in atoms["widths"].tolist():
        render = equinox.filter_jit(GaussianMixtureRenderFn((edge,) * 3, voxel_size, n_spread=width, n_batches=BATCHES))
        density = np.asarray(render(volume).block_until_ready())
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            render(volume).block_until_ready()
            seconds.append(time.perf_counter() - start)
        error = np.linalg.norm(density - atoms["reference"]) / np.linalg.norm(atoms["reference"])
        found[f"spread_{width}"] = {"seconds": statistics.median(seconds), "relative_l2": float(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
