"""Resolution of a map by cctbx mtriage, as a program of its own: `mtriage_process.py MAP.npz MODEL ANSWER.json`.

It must import neither gemmi nor torch nor anything of ours that does (see mtriage.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false

import json
import sys
from pathlib import Path

import iotbx.pdb
import numpy as np
from cctbx import crystal
from mmtbx.maps import mtriage
from scitbx.array_family import flex


def main(density: Path, model: Path, answer: Path) -> None:
    """Read values_xyz, voxel_size, origin_xyz and a structure file; write d_model, d99, d_fsc_model_05 and others."""
    with np.load(density) as arrays:
        values_xyz = np.ascontiguousarray(arrays["values_xyz"], dtype=np.float64)
        edges = [float(arrays["voxel_size"]) * size for size in values_xyz.shape]
        origin = arrays["origin_xyz"]
    box = crystal.symmetry(unit_cell=(*edges, 90, 90, 90), space_group_symbol="P1")
    hierarchy = iotbx.pdb.input(file_name=str(model)).construct_hierarchy()
    hierarchy.remove_hd()
    atoms = hierarchy.atoms()
    atoms.set_xyz(flex.vec3_double(np.ascontiguousarray(atoms.extract_xyz().as_numpy_array() - origin)))
    structure = hierarchy.extract_xray_structure(crystal_symmetry=box)
    structure.scattering_type_registry(table="electron")
    parameters = mtriage.master_params().extract()
    parameters.mask_maps = True
    results = mtriage.mtriage(
        map_data=flex.double(values_xyz),
        xray_structure=structure,
        crystal_symmetry=box,
        params=parameters,
    ).get_results()
    names = ("d_model", "d_model_b0", "d99", "d_fsc_model_05", "d_fsc_model_0143", "b_iso_overall")
    answer.write_text(json.dumps({name: getattr(results.masked, name) for name in names}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
