"""The report of a build as one HTML file: warnings, models in their densities, scores, and where it all comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cryofound.maps.density_map import DensityMap
from cryofound.report.build_report import BuildReport, read_build_report
from cryofound.report.densities import ZONE, PageDensity, page_densities
from cryofound.report.figures import fsc_figure, profiles_figure, series, state_colours
from cryofound.report.page import write_page
from cryofound.report.score_rows import missed, score_rows
from cryofound.report.viewer_data import viewer_data

NAME = "report.html"
DENSITY_BUDGET = 3_000_000  # bytes, compressed
SCRIPTS = ("unpack.js", "isosurface.js", "viewer.js", "controls.js", "build.js")


def write_build_report(folder: Path, maps: Mapping[str, DensityMap], facts: Mapping[str, Any] | None = None) -> Path:
    """Write report.html into a folder of `build_models` and return its path.

    maps by their states' names, those missing are not shown; facts of the manifest, None where it is written already.
    The file depends on nothing else, so that it comes out the same each time. Raises as `read_build_report` does.
    """
    report = read_build_report(folder, maps, facts)
    model, states_xyz = report.states[0].model, [state.model.positions_xyz for state in report.states]
    densities = page_densities(
        [state.density for state in report.states],
        states_xyz,
        [state.resolution for state in report.states],
        sum(each.atom.element.weight for each in model.structure[0].all()),
        DENSITY_BUDGET,
    )
    viewer = viewer_data(model, states_xyz, densities, report.morph_xyz)
    data = {
        "drawn": viewer.drawn,
        "figures": {"profiles": profiles_figure(report), "fsc": fsc_figure(report)},
        "states": [
            {
                "id": state.state_id,
                "resolution": state.resolution,
                "built_from": state.built_from,
                "colour": colour,
                "correlation": series(state.correlation, 3),
                "b_factor": series(state.b_factor, 1),
                "displacement": series(state.displacement, 2),
            }
            for state, colour in zip(report.states, state_colours(len(report.states)), strict=True)
        ],
    }
    context = {
        "report": report,
        "warnings": [*report.warnings, *missed(report.states)],
        "resolutions": _resolutions(report),
        "reduced": _reduced(report, densities, viewer.left_out),
        "score_groups": score_rows(report.states),
        "recipe": yaml.safe_dump(json.loads(json.dumps(report.facts.get("recipe", {}))), sort_keys=False),
    }
    path = Path(folder) / NAME
    write_page(path, "build.html", SCRIPTS, data, context)
    return path


def _resolutions(report: BuildReport) -> str:
    values = sorted({state.resolution for state in report.states})
    return f"{values[0]:g} Å" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g} Å"


def _reduced(report: BuildReport, densities: list[PageDensity | None], left_out: tuple[str, ...]) -> str:
    """What the page holds less than the files, in plain words."""
    there = [density for density in densities if density is not None]
    told = []
    if there:
        coarser = [density for density in there if density.grid.voxel_size > 1.01 * density.voxel_size]
        sizes = sorted({round(density.grid.voxel_size, 2) for density in there})
        span = f"{sizes[0]:g}" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g}"
        how = "made coarser" if coarser else "not made coarser"
        told.append(
            f"In this page the maps are cut {ZONE:g} Å about the models, {how} (voxels of {span} Å) and rounded to "
            "255 levels above their mean."
        )
    if 0 < len(there) < len(report.states):
        told.append(f"To keep the page small, only {len(there)} of {len(report.states)} maps are in it.")
    if left_out:
        told.append(f"Left out: {'; '.join(left_out)}.")
    told.append("The files beside this page hold everything.")
    return " ".join(told)
