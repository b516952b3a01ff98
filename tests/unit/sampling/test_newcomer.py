"""A newcomer finds its family, or none, and enters it as its training systems did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryofound.catalog.entry import load_entries
from cryofound.catalog.loading import load_reference
from cryofound.config import Recipe, load_recipe
from cryofound.ensemble.system import Outline
from cryofound.errors import MapError, StructureError
from cryofound.maps.density_map import Grid
from cryofound.reference.canonical import family_frame, place_reference
from cryofound.sampling.members import Member
from cryofound.sampling.newcomer import MOST_EXPECTED, find_family, newcomer
from cryofound.structure.atomic_model import ONE_LETTER, AtomicModel
from cryofound.structure.chains import chains_of
from cryofound.structure.reading import read_complex
from cryofound.structure.symmetry import find_symmetry
from data_pipeline.stages import anchor_frame, place
from tests.made_complexes import elsewhere, made_ring, reordered
from tests.made_proteins import made_protein

LYSOZYME = (
    "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWW"
    "CNDGRTPGSRNLCNIPCSALLSSDITASVNCAKKIVSDGNGMDAFVQWCRGTDCRL"
)
RECIPE = "name: small\nentries: [none.yaml]\ngrid: {box_size: [32, 48, 64], voxel_size: 4.0}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def of_sequence(sequence: str) -> AtomicModel:
    """A made protein of a sequence; its shape has nothing to do with it."""
    protein = made_protein(len(sequence))
    return replace(protein, residue_type=np.array([ONE_LETTER.index(letter) for letter in sequence]))


def member_of(
    reference: AtomicModel, name: str, family: str, states: tuple[AtomicModel, ...] = (), symmetry: str = "C1"
) -> Member:
    """The anchor of a family, and its only member."""
    placement = place_reference(reference, family_frame(reference, states))
    outline = Outline(
        name, family, "train", placement.reference, placement.family_position, (), Grid.centred(64, 4.0), symmetry
    )
    still = np.zeros((0, reference.n_atoms, 3), dtype=np.float32)
    return Member(outline, still, np.zeros(2, dtype=np.float32), True, placement.core)


def changed(model: AtomicModel, share: float, seed: int) -> AtomicModel:
    """Another residue type at a share of the positions."""
    rng = np.random.default_rng(seed)
    kinds = model.residue_type.copy()
    rows = rng.choice(model.n_residues, round(share * model.n_residues), replace=False)
    kinds[rows] = (kinds[rows] + rng.integers(1, 20, len(rows))) % 20
    return replace(model, residue_type=kinds)


def test_a_relative_is_found_with_its_identity() -> None:
    one, other = made_protein(150, seed=1), made_protein(200, seed=2)
    members = [member_of(one, "one", "first"), member_of(other, "other", "second")]
    relation = find_family(changed(other, 0.4, 3), members)
    assert (relation.family, relation.member) == ("second", "other")
    assert not relation.outside
    assert relation.chains == (("A", "A"),)
    # An alignment is free to leave out its worst ends, and finds chance matches in no gaps.
    assert 0.58 <= relation.identity <= 0.66
    assert 0.9 <= relation.coverage <= 1
    half = find_family(of_sequence("".join(ONE_LETTER[kind] for kind in other.residue_type[:100]) + LYSOZYME), members)
    assert half.identity > 0.97
    assert abs(half.coverage - 100 / 229) < 0.04


def test_the_nearest_of_a_family_is_the_most_identical() -> None:
    anchor = made_protein(150, seed=1)
    near, far = changed(anchor, 0.3, 2), changed(anchor, 0.6, 3)
    members = [member_of(anchor, "anchor", "same"), member_of(far, "far", "same"), member_of(near, "near", "same")]
    assert find_family(changed(near, 0.1, 4), members).member == "near"
    assert find_family(far, members).member == "far"


def test_chance_finds_what_it_should_and_not_more() -> None:
    """Shuffled sequences have an E-value of at most 0.2 in about a fifth of all searches, and none that counts."""
    rng = np.random.default_rng(7)
    members = [member_of(made_protein(200, seed=seed), str(seed), str(seed)) for seed in range(3)]
    found = [find_family(of_sequence("".join(rng.permutation(list(LYSOZYME)))), members).e_value for _ in range(60)]
    assert min(found) > MOST_EXPECTED
    assert np.mean(np.array(found) <= 0.2) < 0.35
    assert np.median(found) < 5


@pytest.mark.shared
def test_lysozyme_is_refused_and_trpv5_is_a_trpv1(shared_data: Path) -> None:
    folder = shared_data / "families/trp_channel"
    first, second = (read_complex(folder / f"{name}.cif.gz") for name in ("7l2i", "7l2j"))
    members = [member_of(first, "trpv1", "trp_channel", (second,), "C4")]
    lysozyme = find_family(of_sequence(LYSOZYME), members)
    assert lysozyme.outside
    assert "no trained family is related" in lysozyme.refusal()
    assert "map series" in lysozyme.refusal()
    target = read_complex(folder / "6o1p_trpv5.pdb.gz")
    relation = find_family(target, members)
    assert not relation.outside
    assert 0.30 < relation.identity < 0.40
    assert len(relation.chains) == 4


@pytest.mark.shared
@pytest.mark.parametrize("system_id", ["rhodopsin", "hsp90_candida"])
def test_it_is_the_system_that_an_ingest_makes(
    system_id: str, repository: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file of the reference alone: the same positions, family positions and grid."""
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data / "families"))
    family = {"rhodopsin": "gpcr_class_a", "hsp90_candida": "hsp90_ntd"}[system_id]
    entries = load_entries([str(repository / f"configs/catalog/families/{family}/*.yaml")])
    entry = next(each for each in entries if each.system_id == system_id)
    anchor = next(each for each in entries if each.anchor)
    recipe = load_recipe(repository / "configs/benchmark/families.yaml")
    grid = Grid.centred(recipe.grid.box_sizes[-1], recipe.grid.voxel_size)
    wanted = place(entry, anchor, grid, tmp_path).placement

    frame = anchor_frame(anchor, tmp_path)
    own = place(anchor, anchor, grid, tmp_path).placement
    outline = Outline(anchor.system_id, family, "train", own.reference, own.family_position, (), grid)
    member = Member(outline, np.zeros((0, own.reference.n_atoms, 3)), np.zeros(2), True, own.core)
    np.testing.assert_array_equal(member.core, frame.core)

    reference = elsewhere(load_reference(entry, tmp_path), 3)
    relation = find_family(reference, [member])
    assert not relation.outside
    system = newcomer(reference, [member], relation, recipe)
    np.testing.assert_allclose(system.reference.positions_xyz, wanted.reference.positions_xyz, atol=2e-3)
    np.testing.assert_array_equal(system.family_position, wanted.family_position)
    assert system.grid.shape_zyx == (48, 48, 48)
    assert (system.states, system.symmetry, system.family) == ((), "C1", family)


def test_chains_come_in_any_order_under_any_names(recipe: Recipe) -> None:
    ring, bent = made_ring(), made_ring(hinge_degrees=30)
    members = [member_of(ring, "ring", "rings", (bent,), "C4")]
    home = members[0].outline
    other = reordered(elsewhere(ring, 3), "CABD", {"C": "X", "A": "Y", "B": "Z", "D": "W"})
    relation = find_family(other, members)
    assert relation.identity == relation.coverage == 1
    system = newcomer(other, members, relation, recipe)
    assert system.symmetry == "C4"
    assert find_symmetry(system.reference, "C4").rmsd < 1e-3
    called = {theirs: own for own, theirs in relation.chains}
    copies, known = chains_of(system.reference), chains_of(home.reference)
    for name, chain in copies.items():
        np.testing.assert_allclose(chain.positions_xyz, known[called[name]].positions_xyz, atol=5e-3)
        rows = home.reference.chain_id == called[name]
        np.testing.assert_array_equal(
            system.family_position[system.reference.chain_id == name], home.family_position[rows]
        )


def test_a_symmetry_that_the_reference_lacks(recipe: Recipe) -> None:
    members = [member_of(made_ring(), "ring", "rings", symmetry="C4")]
    alone = elsewhere(reordered(made_ring(), "B"), 2)
    relation = find_family(alone, members)
    with pytest.raises(StructureError, match=r"1 chains, ring has 4 with the symmetry C4; .* release the symmetry"):
        newcomer(alone, members, relation, recipe)
    assert newcomer(alone, members, relation, recipe, symmetry="released").symmetry == "C1"
    skew = made_ring()
    skew = skew.moved(skew.positions_xyz + np.where(skew.chain_id == "B", 9.0, 0.0)[skew.residue_index][:, None])
    with pytest.raises(StructureError, match=r"do not have the symmetry C4 within 2\.0 A"):
        newcomer(skew, members, find_family(skew, members), recipe)


def test_a_protein_outside_every_family_lies_in_the_middle_and_has_no_counterparts(recipe: Recipe) -> None:
    members = [member_of(made_protein(120, seed=1), "one", "first")]
    stranger = elsewhere(of_sequence(LYSOZYME), 4)
    relation = find_family(stranger, members)
    assert relation.outside
    system = newcomer(stranger, members, relation, recipe)
    np.testing.assert_allclose(system.reference.positions_xyz.mean(0), 0, atol=1e-3)
    assert system.family_position.min() > members[0].outline.family_position.max() + 100


def test_the_grid_is_the_smallest_that_holds_it(recipe: Recipe) -> None:
    protein = made_protein(150, seed=1)
    members = [member_of(protein, "one", "first")]
    relation = find_family(protein, members)
    reach = np.abs(newcomer(protein, members, relation, recipe).reference.positions_xyz).max() + 2 * 4.0
    edges = [32, 48, 64]
    chosen = newcomer(protein, members, relation, recipe).grid.shape_zyx[0]
    assert chosen == min(edge for edge in edges if 2 * reach <= 4.0 * edge)
    narrow = recipe.model_copy(update={"grid": recipe.grid.model_copy(update={"box_size": 16})})
    with pytest.raises(MapError, match=r"box of 16 voxels of 4.0 A \(64 A\) is smaller .* train again, or leave out"):
        newcomer(protein, members, relation, narrow)
