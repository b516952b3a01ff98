"""Resolution of a map that has no half maps, from its model, by cctbx mtriage."""

import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofound.errors import MapError
from cryofound.maps.density_map import DensityMap

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelResolution:
    """Angstrom: `d_model` at which the model's map is most like the map (with one B-factor, `b_iso_overall`, square
    angstrom; `d_model_b0` with none), `d99` beyond which coefficients hardly change the map, and where the correlation
    of map and model by shells falls to 0.5 and 0.143.
    """

    d_model: float
    d_model_b0: float
    d99: float
    d_fsc_model_05: float | None
    d_fsc_model_0143: float | None
    b_iso_overall: float


def model_resolution(density: DensityMap, model: Path) -> ModelResolution | None:
    """Resolution of the map about a model (PDB or mmCIF file in the map's frame), by mtriage with its mask.

    Returns None, with a log line, where cctbx is not installed; raises MapError if mtriage fails. Source: Afonine et
    al. 2018, doi:10.1107/S2059798318009324.
    """
    if importlib.util.find_spec("mmtbx") is None:
        log.warning("model_resolution=none reason='cctbx-base is not installed' remedy='pip install cctbx-base'")
        return None
    # cctbx carries its own C++ runtime and crashes where torch or gemmi was imported before: it gets its own process.
    program = Path(__file__).with_name("mtriage_process.py")
    with tempfile.TemporaryDirectory(prefix="cryofound-mtriage-") as folder:
        arrays, answer = Path(folder) / "map.npz", Path(folder) / "resolution.json"
        np.savez(
            arrays,
            values_xyz=density.values_zyx.transpose(2, 1, 0),
            voxel_size=density.grid.voxel_size,
            origin_xyz=density.grid.origin_xyz,
        )
        command = [sys.executable, "-P", str(program), str(arrays), str(model), str(answer)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise MapError(
                f"{model}: mtriage failed with exit code {finished.returncode}: {reason}; does it lie in the map?"
            )
        return ModelResolution(**json.loads(answer.read_text()))
