"""References brought back into real maps after random motions and from another frame, and mirrored maps told apart."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.physics import shared_data
from cryofound.errors import StructureError
from cryofound.maps.density_map import DensityMap
from cryofound.maps.mrc import read_map
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import body_of, working_level
from cryofound.reference.registration import mirrored_in_z, register
from cryofound.reference.rigid_fit import filtered, solvent_at_zero
from cryofound.structure.alignment import superpose
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.matching import matched_residues
from cryofound.structure.reading import read_complex

MOTIONS = 20
CLOSE = 0.02  # in zone NCC, what counts as found
FARTHEST = 200.0  # angstrom, of a random shift along each axis
LOWER = 7.0  # angstrom, at which the README of shared/data compares models and maps

LIMITS = {"other_frame_gap": CLOSE, "other_frame_gap_to_best_rigid": CLOSE, "other_frame_seconds": 180.0}
FLOORS = {"found": MOTIONS, "mirrored_share": 1.0, "right_hand_share": 1.0}


@dataclass(frozen=True)
class Case:
    """A model docked in a map, files below maps/, and the map's published resolution (angstrom)."""

    map_file: str
    model_file: str
    resolution: float

    def read(self, data: Path) -> tuple[AtomicModel, DensityMap]:
        return read_complex(data / "maps" / self.model_file), read_map(data / "maps" / self.map_file)


HAEMOGLOBIN = Case("emd3488_5ni1/emd_3488.mrc", "emd3488_5ni1/5ni1_updated.cif.gz", 3.2)
CASES = (
    HAEMOGLOBIN,
    Case("emd21457seg_6vyb/emd_21457_seg.mrc", "emd21457seg_6vyb/6vyb_Ndom.pdb.gz", 3.2),
    Case("box_5ly6/5ly6_box.ccp4", "box_5ly6/5ly6_box_complete.pdb.gz", 4.5),
    Case("box_3j8x/chain_K_box.ccp4", "box_3j8x/chain_K_box_complete.pdb.gz", 5.0),
    Case("box_3j8x/chain_K_box.ccp4", "box_3j8x/1bg2_K_fitted.pdb.gz", 5.0),
    Case("box_3j8x/chain_A_box.ccp4", "box_3j8x/chain_A_box_complete.pdb.gz", 5.0),
    Case("box_3j8x/chain_A_box.ccp4", "box_3j8x/5iyz_A_fitted.pdb.gz", 5.0),
    Case("box_emd6272/6272.mrc", "box_emd6272/6272.pdb.gz", 2.6),
)
OTHER_FRAME = "emd3488_5ni1/modelangelo_5ni1.cif.gz"


def measure(work: Path) -> dict[str, float]:
    """All figures of `registration`; nothing is kept in `work`."""
    return registration(shared_data())


def registration(data: Path) -> dict[str, float]:
    """How many of MOTIONS random motions, spread over all models, are undone, what is lost, and how long it takes.

    `found`: the score is within CLOSE of the docked model's; `worst_gap`, the most that one lies below it, and
    `mean_seconds`. `mirrored_share` and `right_hand_share`: of the maps, mirrored and as they are, those that are told
    to be so, the model nowhere near. `other_frame_*` as `other_frame` says.
    """
    gaps, seconds, mirrored, right = [], [], [], []
    for number in range(MOTIONS):
        case = CASES[number % len(CASES)]
        model, density = case.read(data)
        away = random_motion(number)
        moved = model.moved(away.apply(model.positions_xyz))
        began = time.perf_counter()
        gaps.append(docked_score(model, density, case.resolution) - searched_score(moved, density, case.resolution))
        seconds.append(time.perf_counter() - began)
        if number < len(CASES):
            right.append(not register(moved, density, resolution=case.resolution, roughly_docked=False).mirrored)
            other_hand = mirrored_in_z(density)
            mirrored.append(register(moved, other_hand, resolution=case.resolution, roughly_docked=False).mirrored)
    return {
        "found": float(sum(gap <= CLOSE for gap in gaps)),
        "motions": float(MOTIONS),
        "worst_gap": max(gaps),
        "mean_seconds": float(np.mean(seconds)),
        "mirrored_share": float(np.mean(mirrored)),
        "right_hand_share": float(np.mean(right)),
        **other_frame(data),
    }


def other_frame(data: Path) -> dict[str, float]:
    """Haemoglobin's second model, which was built in another frame, in the map, and the time with the hand checked.

    `other_frame_gap`: the score below the deposited model's; `other_frame_gap_at_7A`: with both at LOWER;
    `other_frame_gap_to_best_rigid`: below that of the same model superposed on the deposited one by its residues, which
    knows the answer.
    """
    deposited, density = HAEMOGLOBIN.read(data)
    model, resolution = read_complex(data / "maps" / OTHER_FRAME), HAEMOGLOBIN.resolution
    began = time.perf_counter()
    found = register(model, density, resolution=resolution, roughly_docked=False)
    seconds = time.perf_counter() - began
    placed = model.moved(found.transform.apply(model.positions_xyz))
    rows, deposited_rows = matched_residues(placed, deposited).T
    told = superpose(model.ca_xyz()[rows], deposited.ca_xyz()[deposited_rows])
    superposed = model.moved(told.apply(model.positions_xyz))
    blurred = filtered(density, resolution, LOWER)
    return {
        "other_frame_score": found.score,
        "other_frame_gap": docked_score(deposited, density, resolution) - found.score,
        "other_frame_gap_at_7A": docked_score(deposited, blurred, LOWER) - docked_score(placed, blurred, LOWER),
        "other_frame_gap_to_best_rigid": docked_score(superposed, density, resolution) - found.score,
        "other_frame_seconds": seconds,
    }


def docked_score(model: AtomicModel, density: DensityMap, resolution: float) -> float:
    """The zone NCC of a model where it is."""
    return working_level(solvent_at_zero(density), resolution).score(body_of(model), RigidTransform.identity())


def searched_score(model: AtomicModel, density: DensityMap, resolution: float) -> float:
    """The zone NCC after a search without any hint; -1 where nothing stood out."""
    try:
        return register(model, density, resolution=resolution, roughly_docked=False, check_hand=False).score
    except StructureError:
        return -1.0


def random_motion(seed: int) -> RigidTransform:
    """Any rotation, and a shift of up to FARTHEST along each axis."""
    generator = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=generator).as_matrix()
    return RigidTransform(rotation, generator.uniform(-FARTHEST, FARTHEST, 3))
