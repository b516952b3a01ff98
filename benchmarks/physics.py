"""Forward model and stereochemistry beside independent programs, and the cost of a stage-1 step beside a plain one."""

import os
from pathlib import Path

from benchmarks.agreement import agreement
from benchmarks.clash_ranking import clash_ranking
from benchmarks.density_cost import density_cost
from benchmarks.descent import descent
from benchmarks.growth import growth
from benchmarks.stage1_cost import stage1_cost
from cryofound.errors import SourceError

ROOT = Path(__file__).resolve().parents[1]

# What issue 3 asks for.
LIMITS = {
    "gemmi_relative_l2": 1e-3,
    "backward_over_forward": 3.0,
    "trpv3_step_peak_gib": 8.0,
    "time_slope": 1.1,
    "memory_slope": 1.1,
    "descent_clashscore": 10.0,
    "descent_rama_outliers": 0.5,
    "descent_moved_rms": 0.6,
}
FLOORS = {
    "forward_speed_vs_gemmi": 2.0,
    "forward_speed_vs_cryojax": 3.0,
    "stage1_speedup_vs_baseline": 10.0,
    "stage1_memory_ratio_vs_baseline": 20.0,
    "rama_agreement": 0.99,
    "rotamer_agreement": 0.98,
    "clash_spearman": 0.9,
}


def shared_data() -> Path:
    """The folder shared/data beside the project, or that of CRYOFOUND_SHARED; raises SourceError if it is not there."""
    data = Path(os.environ.get("CRYOFOUND_SHARED", ROOT.parent / "shared")) / "data"
    if not data.is_dir():
        raise SourceError(f"{data}: no such folder; set CRYOFOUND_SHARED to the folder that holds the shared data")
    return data


def measure(work: Path) -> dict[str, float]:
    """All figures; what takes long and does not change (clashscore2, the environment of cryojax) is kept in `work`."""
    data = shared_data()
    found: dict[str, float] = {}
    # what is timed comes first, before anything runs on several processes
    found |= density_cost(data, work)
    found |= stage1_cost(data)
    found |= growth(data, work)
    found |= agreement(data)
    found |= clash_ranking(data, work / "clashscores")
    found |= descent(data, work / "clashscores")
    return found
