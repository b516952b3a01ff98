"""Scores of motions whose answer is known: hinges that go half the way, ensembles that are the truth."""

from dataclasses import replace

import numpy as np
import pytest

from cryofound.ensemble.system import State, System
from cryofound.evaluation.metrics import conformers
from cryofound.evaluation.motion import (
    FEWEST_MOVING,
    MOVES,
    left_out_motions,
    motion_of,
    part_distances,
    score_motions,
    score_spread,
)
from tests.made_proteins import made_protein
from tests.unit.evaluation.conftest import build_system

RESIDUES = 80
REFERENCE = made_protein(RESIDUES)
HINGED = made_protein(RESIDUES, hinge_degrees=50.0)


def system(*truths: np.ndarray, split: str = "held_out") -> System:
    return build_system(REFERENCE, np.stack(truths), split=split)


def recovered(made: System, samples: np.ndarray, **more: int) -> list[float | None]:
    return [each.recovered_moving for each in score_motions(made, left_out_motions(made), samples, "x", **more)]


def test_core_is_one_lobe_and_what_moves_belongs_to_the_other() -> None:
    motion = motion_of(REFERENCE, HINGED.positions_xyz, np.ones(REFERENCE.n_atoms, dtype=bool))
    half = RESIDUES // 2
    sides = motion.moving[:half].sum(), motion.moving[half:].sum()
    assert min(sides) == 0
    assert max(sides) > 0.8 * half
    np.testing.assert_array_equal(motion.core, ~motion.moving)
    ca = REFERENCE.backbone_index()[:, 1]
    moved = np.linalg.norm(motion.truth_xyz[ca] - REFERENCE.positions_xyz[ca], axis=1)
    np.testing.assert_array_equal(moved > MOVES, motion.moving)
    assert moved[motion.core].mean() < 0.5


def test_the_truth_recovers_all_and_the_reference_nothing(turn) -> None:
    made = system(HINGED.positions_xyz)
    (whole,) = recovered(made, turn(np.stack([REFERENCE.positions_xyz, HINGED.positions_xyz])))
    assert whole == pytest.approx(1, abs=1e-4)
    (none,) = recovered(made, turn(REFERENCE.positions_xyz[None]))
    assert none == pytest.approx(0, abs=1e-5)


def test_a_share_of_the_way_recovers_that_share() -> None:
    """On the straight line from reference to truth, with the core at rest, the distance left is what is left to go."""
    core = np.arange(RESIDUES) < 40
    way = np.where(core[REFERENCE.residue_index], 0.0, 6.0)[:, None] * np.array([0.0, 0.6, 0.8])
    made = system(REFERENCE.positions_xyz + way)
    for share in (0.25, 0.6, 1.5, -0.5):
        (found,) = recovered(made, (REFERENCE.positions_xyz + share * way)[None])
        assert found == pytest.approx(1 - abs(1 - share), abs=1e-3)
    (score,) = score_motions(made, left_out_motions(made), (REFERENCE.positions_xyz + 0.25 * way)[None], "x")
    assert score.moving_rmsd == pytest.approx(4.5, abs=1e-3)
    assert score.core_rmsd == pytest.approx(0.0, abs=1e-3)
    assert score.n_moving == 40
    # Two rigid halves, 6 A apart: superposed, each is half of that off; recall superposes as it likes.
    assert score.static_rmsd <= 3.0
    assert score.recall_rmsd == pytest.approx(0.75 * score.static_rmsd, rel=0.05)


def test_parts_are_measured_apart(rng: np.random.Generator) -> None:
    """Noise in the moving part leaves the core's distance alone, and the other way round."""
    known = np.ones(REFERENCE.n_atoms, dtype=bool)
    motion = motion_of(REFERENCE, HINGED.positions_xyz, known)
    moving = motion.moving[REFERENCE.residue_index]
    noise = rng.normal(size=(1, REFERENCE.n_atoms, 3))
    sample = motion.truth_xyz + np.where(moving[:, None], noise, 0)
    core_rmsd, moving_rmsd, ca_rmsd = part_distances(motion, REFERENCE, sample)
    assert core_rmsd[0] == pytest.approx(0, abs=1e-2)
    assert moving_rmsd[0] == pytest.approx(np.sqrt((noise[0, moving] ** 2).sum(1).mean()), rel=1e-3)
    ca = REFERENCE.backbone_index()[motion.moving, 1]
    assert ca_rmsd[0] == pytest.approx(np.sqrt((noise[0, ca] ** 2).sum(1).mean()), rel=1e-3)


def test_atoms_that_are_not_known_count_nowhere() -> None:
    known = np.ones(REFERENCE.n_atoms, dtype=bool)
    known[REFERENCE.residue_index >= 70] = False
    motion = motion_of(REFERENCE, HINGED.positions_xyz, known)
    assert not motion.core[70:].any()
    assert not motion.moving[70:].any()
    assert known[motion.core_atoms].all()
    assert known[motion.moving_atoms].all()


def test_a_conformer_in_two_maps_counts_once_and_one_at_home_is_told() -> None:
    made = system(REFERENCE.positions_xyz, REFERENCE.positions_xyz, HINGED.positions_xyz, HINGED.positions_xyz)
    names = ("closed_4A", "closed_6A", "open_4A", "open_6A")
    made = replace(made, states=tuple(State(name, 2.0, 4.0, "train") for name in names))
    found = conformers(made)
    assert [(each.name, each.rows, each.population, each.at_home) for each in found] == [
        ("closed", (0, 1), 2.0, True),
        ("open", (2, 3), 2.0, False),
    ]
    rest, gone = score_motions(made, left_out_motions(made), REFERENCE.positions_xyz[None], "static")
    assert rest.at_home
    assert rest.recovered_moving is None
    assert gone.recall_rmsd == pytest.approx(gone.static_rmsd)
    # A training system has only those left out of which it has seen no map.
    trained = replace(made, split="train", states=(*made.states[:3], replace(made.states[3], split="validation")))
    assert left_out_motions(trained) == {}


def test_a_loop_is_no_moving_part() -> None:
    few = FEWEST_MOVING - 1
    loop = np.where(REFERENCE.residue_index < few, 8.0, 0.0)[:, None] * np.array([0.0, 0.0, 1.0])
    (score,) = score_motions(
        made := system(REFERENCE.positions_xyz + loop), left_out_motions(made), REFERENCE.positions_xyz[None], "x"
    )
    assert score.n_moving == few
    assert score.recovered_moving is None
    assert score.recall_rmsd > 1


def test_of_a_pool_the_closest_of_a_choice_is_expected() -> None:
    made = system(HINGED.positions_xyz)
    pool = np.stack([HINGED.positions_xyz] + [REFERENCE.positions_xyz] * 7)
    (found,) = recovered(made, pool, n_drawn=2)
    assert found == pytest.approx(2 / 8, abs=1e-4)  # the chance that the one good sample is among two of eight


def test_wasserstein_of_the_states_themselves_is_zero_and_follows_populations(turn) -> None:
    made = system(REFERENCE.positions_xyz, HINGED.positions_xyz)
    both = turn(np.stack([HINGED.positions_xyz, REFERENCE.positions_xyz]))
    assert score_spread(made, both, "x").wasserstein == pytest.approx(0, abs=1e-3)
    assert score_spread(made, both, "x").precision_rmsd == pytest.approx(0, abs=1e-3)
    apart = conformers(made)[1].static_rmsd
    weighted = replace(made, states=(replace(made.states[0], population=3.0), made.states[1]))
    # A quarter of the weight is at the hinge, half of the samples: a quarter must go the whole way.
    assert score_spread(weighted, both, "x").wasserstein == pytest.approx(apart / 2, rel=1e-3)


def test_spread_scores_know_stereochemistry(rng: np.random.Generator) -> None:
    made = system(HINGED.positions_xyz)
    torn = (REFERENCE.positions_xyz + rng.normal(scale=0.5, size=(2, REFERENCE.n_atoms, 3))).astype(np.float32)
    there, broken = (score_spread(made, each, "x") for each in (REFERENCE.positions_xyz[None], torn))
    assert there.bond_rms == 0
    assert broken.bond_rms > 0.3
    assert there.ramachandran_outliers is None
