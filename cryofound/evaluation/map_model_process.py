"""Correlations of a map with a model by cctbx, a program of its own: `map_model_process.py MAP.npz MODEL.cif JOB.json
ANSWER.json`.

It must import neither gemmi nor torch nor anything of ours that does (see cctbx_program.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false

import json
import sys
from pathlib import Path

import iotbx.pdb
import numpy as np
from cctbx import adptbx, crystal
from iotbx.pdb.hybrid_36 import hy36decode
from libtbx.utils import null_out
from mmtbx.maps import correlation, map_model_cc
from mmtbx.refinement import group
from mmtbx.refinement.real_space import adp
from scipy.optimize import minimize_scalar
from scitbx.array_family import flex

LARGEST_B = 400.0  # square angstrom that one B-factor for all atoms may be, or more
B_PER_SQUARE = 40.0  # of the resolution in angstrom: ten times that of a map drawn as Gaussians
B_STEP = 1.0  # square angstrom


def main(density: Path, model: Path, job: Path, answer: Path) -> None:
    """Read values_xyz, voxel_size, origin_xyz, a structure file, and a job: `resolution` (angstrom), `fit`, `map`.

    Write the correlations with the B-factors of the file and, if asked for, with fitted ones; and, as the file `map`,
    the model's density up to Nyquist (x, y, z) with whichever give the larger cc_mask. A job with `conformations`, a
    file of positions (conformation, atom, 3), asks for `volume_correlations` alone.
    """
    wanted = json.loads(job.read_text())
    with np.load(density) as arrays:
        values = flex.double(np.ascontiguousarray(arrays["values_xyz"], dtype=np.float64))
        edges = [float(arrays["voxel_size"]) * size for size in values.all()]
        origin = arrays["origin_xyz"]
    box = crystal.symmetry(unit_cell=(*edges, 90, 90, 90), space_group_symbol="P1")
    # Sorted as cctbx likes them, atoms would not be in the order of the file, in which positions and B-factors go.
    hierarchy = iotbx.pdb.input(file_name=str(model)).construct_hierarchy(sort_atoms=False)
    atoms = hierarchy.atoms()
    atoms.reset_i_seq()
    if "conformations" in wanted:
        placed = np.load(wanted["conformations"]) - origin
        answer.write_text(json.dumps(volume_correlations(values, hierarchy, box, wanted["resolution"], placed)))
        return
    atoms.set_xyz(flex.vec3_double(np.ascontiguousarray(atoms.extract_xyz().as_numpy_array() - origin)))
    as_given = best = correlations(values, hierarchy, box, wanted["resolution"])
    given, fitted = atoms.extract_b(), None
    best["cc_mask_one_b"] = None
    if wanted["fit"] and (f_model := fit_one_b_factor(values, hierarchy, box, wanted["resolution"], best["radius"])):
        one_b = correlations(values, hierarchy, box, wanted["resolution"])["cc_mask"]
        fit_residue_b_factors(hierarchy, f_model)
        fitted = correlations(values, hierarchy, box, wanted["resolution"])
        best = max(as_given, fitted, key=lambda each: each["cc_mask"])
        best["cc_mask_one_b"] = one_b
        if best is as_given:
            atoms.set_b(given)
    np.save(wanted["map"], model_map(values, hierarchy, box, 2 * edges[0] / values.all()[0]))
    best["fitted"] = best is fitted
    best["cc_mask_as_given"] = as_given["cc_mask"]
    best["b_factor"] = list(atoms.extract_b())
    answer.write_text(json.dumps(best))


def correlations(values, hierarchy, box, resolution: float) -> dict:
    """The correlations that `phenix.map_model_cc` gives, and those of residues: chain, number, insertion, name, cc."""
    parameters = map_model_cc.master_params().extract().map_model_cc
    parameters.resolution = resolution
    # each works on its own copy of the map
    run = map_model_cc.map_model_cc(values.deep_copy(), hierarchy, box, parameters)
    run.run()
    result = run.get_results()
    rows = [
        (each.chain_id.strip(), hy36decode(4, each.resseq), each.icode.strip(), each.resname.strip(), each.cc)
        for each in result.cc_per_residue
    ]
    names = ("cc_mask", "cc_volume", "cc_peaks", "cc_box")
    return {**{name: getattr(result, name) for name in names}, "radius": result.atom_radius, "residues": rows}


def volume_correlations(values, hierarchy, box, resolution: float, conformations: np.ndarray) -> dict[str, list[float]]:
    """cc_volume of each conformation (conformation, atom, 3) with the one B-factor for all atoms that makes it largest.

    And these B-factors. `fit_one_b_factor` would leave a hundredth to chance: it looks at the map within a radius of
    the atoms, and cc_volume follows its B.
    """
    atoms = hierarchy.atoms()
    found: dict[str, list[float]] = {"cc_volume": [], "b_factor": []}

    def loss(b_factor: float) -> float:
        atoms.set_b(flex.double(len(atoms), b_factor))
        return -volume_correlation(values, hierarchy, box, resolution)

    bounds = (0.0, max(LARGEST_B, B_PER_SQUARE * resolution**2))
    for positions in conformations:
        atoms.set_xyz(flex.vec3_double(np.ascontiguousarray(positions, dtype=np.float64)))
        best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": B_STEP})
        b_factor = round(float(best.x), 2)  # as a file holds it, so that any program can do it again
        found["cc_volume"].append(-loss(b_factor))
        found["b_factor"].append(b_factor)
    return found


def volume_correlation(values, hierarchy, box, resolution: float) -> float:
    """cc_volume alone."""
    structure = hierarchy.extract_xray_structure(crystal_symmetry=box)
    structure.scattering_type_registry(table="electron")
    found = correlation.five_cc(values, structure, d_min=resolution, compute_cc_mask=False, compute_cc_peaks=False)
    return found.result.cc_volume


def fit_one_b_factor(values, hierarchy, box, resolution: float, radius: float):
    """Set one B-factor for all atoms, by a line search over the masked map's coefficients; None if it holds nothing.

    Returns what `fit_residue_b_factors` goes on from. Phenix's own real-space way, as is the next.
    """
    structure = hierarchy.extract_xray_structure(crystal_symmetry=box)
    structure.scattering_type_registry(table="electron")
    f_model = adp.map_and_model_to_fmodel(
        map_data=values.deep_copy(), xray_structure=structure, atom_radius=radius, d_min=resolution
    )
    if f_model is not None:
        take_b_factors(hierarchy, f_model)
    return f_model


def fit_residue_b_factors(hierarchy, f_model) -> None:
    """Set one B-factor for each residue, restrained to its neighbours; more cycles only tighten the restraints."""
    group.manager(
        fmodel=f_model,
        selections=[residue.atoms().extract_i_seq() for residue in hierarchy.residue_groups()],
        number_of_macro_cycles=1,
        use_restraints=True,
        refine_adp=True,
        log=null_out(),
    )
    take_b_factors(hierarchy, f_model)


def take_b_factors(hierarchy, f_model) -> None:
    """Set the B-factors (angstrom^2) of the hierarchy's atoms to those fitted."""
    hierarchy.atoms().set_b(f_model.xray_structure.extract_u_iso_or_u_equiv() * adptbx.u_as_b(1.0))


def model_map(values, hierarchy, box, resolution: float) -> np.ndarray:
    """(x, y, z) float32 density of the model up to a resolution (angstrom)."""
    structure = hierarchy.extract_xray_structure(crystal_symmetry=box)
    structure.scattering_type_registry(table="electron")
    finest = correlation.five_cc(
        values, structure, d_min=resolution, keep_map_calc=True, compute_cc_mask=False, compute_cc_volume=False,
        compute_cc_peaks=False,
    )  # fmt: skip
    return finest.result.map_calc.as_numpy_array().astype(np.float32)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
