"""From an entry to a system: what the maps, truths and frames must be, and what is refused."""

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
import yaml

from cryofound.catalog.entry import CatalogEntry, Simulation, load_entry
from cryofound.catalog.loading import load_reference
from cryofound.ensemble.simulation import simulate_map, within_reach
from cryofound.errors import CryoFoundError, MapError, SourceError, StructureError
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import write_map
from cryofound.maps.resampling import resample
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.physics.density import render_gaussian
from cryofound.structure.alignment import rmsd_superposed, sequence_of
from cryofound.structure.atomic_model import ATOMIC_NUMBERS, ELEMENTS, AtomicModel
from cryofound.structure.chains import residues_of
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble
from data_pipeline.inputs import changeable_files
from data_pipeline.references import prediction_of, registered
from data_pipeline.stages import (
    BuiltState,
    PlacedReference,
    build_state,
    build_system,
    on_grid,
    place,
)
from tests.made_proteins import made_protein, random_rotation
from tests.pipeline.conftest import write_entry

GRID = Grid.centred(48, 2.0)


def build(catalog: Path, name: str, grid: Grid = GRID):
    anchor = load_entry(catalog / "a.yaml")
    return build_system(load_entry(catalog / f"{name}.yaml"), anchor, grid, catalog / "cache")


def rendered(model: AtomicModel, positions: np.ndarray, grid: Grid, resolution: float) -> np.ndarray:
    number = torch.tensor([[float(ATOMIC_NUMBERS[ELEMENTS[each]]) for each in model.element]])
    return render_gaussian(torch.tensor(np.asarray(positions, dtype=np.float32))[None], number, grid, resolution)[
        0
    ].numpy()


def test_maps_show_the_true_atoms_in_the_family_s_frame(catalog: Path) -> None:
    write_entry(catalog, "b", simulation={"resolution": 8.0, "noise": 0.0})
    system, maps = build(catalog, "b")
    assert [state.split for state in system.states] == ["train", "validation", "train"]
    assert system.truth_mask.all()
    np.testing.assert_allclose(system.truth_xyz[0], system.reference.positions_xyz, atol=1e-2)
    for truth, density in zip(system.truth_xyz, maps, strict=True):
        expected = rendered(system.reference, truth, GRID, 8.0)
        np.testing.assert_allclose(density, expected, atol=1e-4 * expected.max())
    # The same hinge in the anchor, whose files lie elsewhere, is the same displacement.
    anchor, _ = build(catalog, "a")
    np.testing.assert_allclose(
        system.truth_xyz - system.reference.positions_xyz, anchor.truth_xyz - anchor.reference.positions_xyz, atol=2e-2
    )


def test_noise_is_what_the_entry_says_and_only_the_names_decide_it() -> None:
    model = made_protein(60)
    clean, noisy, again, other = (
        simulate_map(model.moved(model.positions_xyz - model.positions_xyz.mean(0)), GRID, simulation, name)
        for simulation, name in (
            (Simulation(resolution=8.0), "x"),
            (Simulation(resolution=8.0, noise=0.25), "x"),
            (Simulation(resolution=8.0, noise=0.25), "x"),
            (Simulation(resolution=8.0, noise=0.25), "y"),
        )
    )
    inside = within_reach(model.positions_xyz - model.positions_xyz.mean(0), GRID, 3.0)
    noise = noisy - clean
    assert noise.std() == pytest.approx(0.25 * clean[inside].std(), rel=0.02)
    assert abs(noise.mean()) < 0.02 * noise.std()
    np.testing.assert_array_equal(noisy, again)
    assert abs(np.corrcoef(noise.ravel(), (other - clean).ravel())[0, 1]) < 0.02


def test_a_state_may_have_a_resolution_and_noise_of_its_own(catalog: Path) -> None:
    """One conformer twice: the maps are what two entries would make of it, the truth is the same."""
    path = catalog / "b.yaml"
    write_entry(catalog, "b", simulation={"resolution": 8.0, "noise": 0.1})
    content = yaml.safe_load(path.read_text())
    first = content["states"][0]
    content["states"] = [first, {**first, "state_id": "finer", "resolution": 5.0, "noise": 0.0}]
    path.write_text(yaml.safe_dump(content))
    system, maps = build(catalog, "b")
    assert [state.resolution for state in system.states] == [8.0, 5.0]
    np.testing.assert_array_equal(system.truth_xyz[0], system.truth_xyz[1])
    coarse = rendered(system.reference, system.truth_xyz[0], GRID, 8.0)
    fine = rendered(system.reference, system.truth_xyz[1], GRID, 5.0)
    np.testing.assert_allclose(maps[1], fine, atol=1e-4 * fine.max())
    near = within_reach(system.truth_xyz[0], GRID, 3.0)
    assert (maps[0] - coarse).std() == pytest.approx(0.1 * coarse[near].std(), rel=0.02)


def test_voxels_within_reach() -> None:
    near = within_reach(np.array([[3.0, 0.0, -1.0]]), GRID, 5.0)
    z, y, x = np.meshgrid(*[GRID.origin_xyz[0] + 2.0 * np.arange(48)] * 3, indexing="ij")
    np.testing.assert_array_equal(near, (x - 3) ** 2 + y**2 + (z + 1) ** 2 < 25)


def test_normal_mode_states_are_as_far_as_the_entry_says(catalog: Path) -> None:
    states = [
        {"state_id": f"m{sign}".replace("-", "n"), "kind": "normal_mode", "sign": sign, "rmsd": 2.5} for sign in (1, -1)
    ]
    write_entry(catalog, "b", states=states)
    system, _ = build(catalog, "b")
    reference = system.reference.positions_xyz
    assert [rmsd_superposed(truth, reference) for truth in system.truth_xyz] == pytest.approx([2.5, 2.5], abs=1e-3)
    forwards, backwards = system.truth_xyz - reference
    cosine = (forwards * backwards).sum() / np.linalg.norm(forwards) / np.linalg.norm(backwards)
    assert cosine == pytest.approx(-1, abs=1e-4)


def test_a_measured_map_comes_into_the_canonical_frame(catalog: Path) -> None:
    """A map made in the frame of b's files must look like the reference rendered in the canonical frame."""
    own = read_model(catalog / "files/b_closed.cif")
    start = own.positions_xyz.min(0) - 12
    grid = Grid((70, 64, 78), 1.1, tuple(start.tolist()))
    write_map(catalog / "files/b.mrc", DensityMap(rendered(own, own.positions_xyz, grid, 8.0), grid))
    state = {"state_id": "m", "kind": "map", "source": "here", "file": "b.mrc", "resolution": 8.0}
    write_entry(catalog, "b", states=[state])
    system, maps = build(catalog, "b")
    expected = rendered(system.reference, system.reference.positions_xyz, GRID, 8.0)
    assert np.abs(maps[0] - expected).max() < 0.01 * expected.max()
    assert not system.truth_mask.any()
    small = Grid((20, 64, 78), 1.1, grid.origin_xyz)
    write_map(catalog / "files/b.mrc", DensityMap(rendered(own, own.positions_xyz, small, 8.0), small))
    with pytest.raises(MapError, match=r"^b: .*b.mrc: box of 86 x 70 x 22 A does not hold the protein of"):
        build(catalog, "b")
    write_map(catalog / "files/b.mrc", DensityMap(rendered(own, own.positions_xyz, grid, 8.0), grid))
    with mrcfile.open(catalog / "files/b.mrc", "r+") as file:
        file.data[3, 4, 5] = np.nan
    with pytest.raises(MapError, match=r"^b: .*b.mrc: 1 of 349440 values are NaN or infinite"):
        build(catalog, "b")


def refused(catalog: Path, kind: type[CryoFoundError], name: str = "b", grid: Grid = GRID) -> str:
    with pytest.raises(kind) as raised:
        build(catalog, name, grid)
    line = str(raised.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    return line


def test_a_box_smaller_than_the_protein(catalog: Path) -> None:
    line = refused(catalog, MapError, grid=Grid.centred(16, 2.0))
    assert "box of 16 voxels of 2.0 A (32 A) is smaller than the protein" in line
    size = int(line.rsplit(" ", 1)[1])
    build(catalog, "b", Grid.centred(size, 2.0))  # the remedy is one


def test_a_sequence_that_does_not_match(catalog: Path) -> None:
    right = sequence_of(made_protein(60))
    write_entry(catalog, "b", sequence=f"{right[:30]} {right[30:]}".lower())
    build(catalog, "b")
    wrong = "A" if right[8] != "A" else "C"
    write_entry(catalog, "b", sequence=right[:8] + wrong + right[9:])
    line = refused(catalog, StructureError)
    assert f"position 9 is {wrong}, the structure's residue 9 is {right[8]}" in line
    assert "b_closed.cif" in line


def test_a_chain_without_backbone(catalog: Path) -> None:
    path = catalog / "files/b_open.cif"
    lines = path.read_text().splitlines(keepends=True)
    model = made_protein(60)
    victim = int(np.flatnonzero((model.residue_index == 25) & (model.atom_name == 1))[0])
    atoms = [row for row, line in enumerate(lines) if line.startswith("ATOM")]
    del lines[atoms[victim]]
    path.write_text("".join(lines))
    assert "b_open.cif: chain A: residue 26 " in refused(catalog, StructureError)


def test_missing_files(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (catalog / "files/b_open.cif").unlink()
    assert "b_open.cif: not in source here of b" in refused(catalog, SourceError)
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(catalog))
    states = [{"state_id": "m", "kind": "normal_mode"}]
    write_entry(catalog, "b", sources={"p": {"kind": "pdb", "id": "1ABC"}}, reference={"source": "p"}, states=states)
    assert "holds no file for 1ABC" in refused(catalog, SourceError)


@pytest.mark.shared
def test_calmodulin_is_the_paper_s_benchmark(
    repository: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data / "calmodulin/seed"))
    folder = repository / "configs/catalog/calmodulin"
    anchor = load_entry(folder / "1exr.yaml")
    for name in ("1exr", "4cln"):
        system, maps = build_system(load_entry(folder / f"{name}.yaml"), anchor, Grid.centred(64, 2.0), tmp_path)
        assert maps.shape == (2, 64, 64, 64)
        reference = system.reference.positions_xyz
        assert [rmsd_superposed(truth, reference) for truth in system.truth_xyz] == pytest.approx([3.46] * 2, abs=1e-3)


@pytest.mark.shared
def test_extended_calmodulins_are_no_twins_of_the_held_out_ones(
    repository: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryofound.catalog.loading import load_reference
    from cryofound.structure.matching import matched_residues

    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data / "calmodulin"))
    folder = repository / "configs/catalog"
    held_out = [load_reference(load_entry(folder / f"calmodulin/{name}.yaml"), tmp_path) for name in ("4cln", "5a2h")]
    kept: list[AtomicModel] = []

    def distance(first: AtomicModel, second: AtomicModel) -> float:
        pairs = matched_residues(first, second)
        return rmsd_superposed(first.ca_xyz()[pairs[:, 0]], second.ca_xyz()[pairs[:, 1]])

    for path in sorted((folder / "calmodulin_extended").glob("*.yaml")):
        model = load_reference(load_entry(path), tmp_path)
        assert min(distance(model, other) for other in held_out) > 1.5, path
        assert min((distance(model, other) for other in kept), default=9.0) > 0.4, path
        kept.append(model)
    assert len(kept) >= 10


@pytest.mark.parametrize("most_voxels", [2**24, 100_000])
def test_only_the_part_of_a_map_that_the_grid_meets_is_resampled(
    most_voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_pipeline.stages.MOST_VOXELS", most_voxels)
    values = np.random.default_rng(0).standard_normal((90, 100, 110), dtype=np.float32)
    density = DensityMap(values, Grid((90, 100, 110), 1.3, (-60.0, -75.0, -80.0)))
    for seed, shift in enumerate(((0.0, 0.0, 0.0), (4.0, -9.0, 2.0), (60.0, 0.0, 0.0), (400.0, 0.0, 0.0))):
        transform = RigidTransform(random_rotation(seed), np.array(shift))
        grid = Grid.centred(24, 2.0)
        np.testing.assert_allclose(on_grid(density, grid, transform), resample(density, grid, transform), atol=1e-5)


def write_measured(catalog: Path, name: str, model: AtomicModel, voxel_size: float = 1.1) -> Grid:
    """A map of a model as `files/<name>.mrc`; its grid."""
    start = model.positions_xyz.min(0) - 12
    z, y, x = (round(1.1 * size / voxel_size) for size in (70, 64, 78))
    grid = Grid((z, y, x), voxel_size, tuple(start.tolist()))
    write_map(catalog / f"files/{name}.mrc", DensityMap(rendered(model, model.positions_xyz, grid, 8.0), grid))
    return grid


def state_of(file: str, **more: Any) -> dict[str, Any]:
    return {"state_id": "m", "kind": "map", "source": "here", "file": file, "resolution": 8.0, **more}


def built(catalog: Path) -> tuple[PlacedReference, BuiltState]:
    entry, anchor = load_entry(catalog / "b.yaml"), load_entry(catalog / "a.yaml")
    placed = place(entry, anchor, GRID, catalog / "cache")
    return placed, build_state(entry, entry.states[0], placed, GRID, catalog / "cache")


def test_preprocessing_comes_first_and_says_what_it_did(catalog: Path) -> None:
    own = read_model(catalog / "files/b_closed.cif")
    write_measured(catalog, "b", own)
    steps = [{"kind": "zone", "radius": 4.0}, {"kind": "normalise", "radius": 4.0}]
    write_entry(catalog, "b", states=[state_of("b.mrc")], preprocessing=steps)
    placed, state = built(catalog)
    zone, normalise = state.notes["preprocessing"]
    assert (zone["kind"], normalise["kind"]) == ("zone", "normalise")
    inside = within_reach(placed.placement.reference.positions_xyz, GRID, 1.5)
    expected = rendered(placed.own, placed.placement.reference.positions_xyz, GRID, 8.0)
    normalised = (expected - normalise["mean"]) / normalise["sd_within"]
    assert np.abs(state.arrays.density - normalised)[inside].max() < 0.05
    far = ~within_reach(placed.placement.reference.positions_xyz, GRID, 12.0)
    assert np.ptp(state.arrays.density[far & (state.arrays.density != 0)]) < 0.01


def test_masks_move_with_their_maps(catalog: Path) -> None:
    own = read_model(catalog / "files/b_closed.cif")
    grid = write_measured(catalog, "b", own)
    mask = within_reach(own.positions_xyz, grid, 6.0).astype(np.float32)
    write_map(catalog / "files/mask.mrc", DensityMap(mask, grid))
    write_entry(catalog, "b", states=[state_of("b.mrc")], mask={"source": "here", "file": "mask.mrc"})
    placed, state = built(catalog)
    assert state.arrays.mask is not None
    expected = within_reach(placed.placement.reference.positions_xyz, GRID, 6.0)
    assert ((state.arrays.mask > 0.5) == expected).mean() > 0.995


def test_a_fitted_model_places_its_map_and_is_the_truth(catalog: Path) -> None:
    """A deposited map in a frame of its own, of the protein with its hinge open."""
    fitted = read_model(catalog / "files/b_open.cif")
    rotation = random_rotation(5)
    moved = fitted.moved(fitted.positions_xyz @ rotation.T + [70.0, -20.0, 9.0])
    write_ensemble(catalog / "files/fitted.cif", moved, moved.positions_xyz[None])
    write_measured(catalog, "b", moved)
    write_entry(
        catalog, "b", states=[state_of("b.mrc", fitted_model={"source": "here", "file": "fitted.cif"})],
        reference={"source": "here", "file": "b_closed.cif", "placement": "undocked"},
    )  # fmt: skip
    placed, state = built(catalog)
    assert placed.registration == {}  # the fitted model says where the map lies
    assert state.arrays.truth_mask.all()
    assert rmsd_superposed(state.arrays.truth_xyz, fitted.positions_xyz) < 1e-2
    expected = rendered(placed.own, state.arrays.truth_xyz, GRID, 8.0)
    assert np.abs(state.arrays.density - expected).max() < 0.01 * expected.max()


@pytest.mark.slow
def test_an_undocked_reference_is_registered_into_its_map(catalog: Path) -> None:
    own = made_protein(120, seed=3)
    rotation = random_rotation(2)
    there = own.moved(own.positions_xyz @ rotation.T + [15.0, 40.0, -8.0])
    write_ensemble(catalog / "files/b_closed.cif", own, own.positions_xyz[None])
    write_measured(catalog, "b", there, voxel_size=3.0)
    reference = {"source": "here", "file": "b_closed.cif", "placement": "undocked"}
    write_entry(catalog, "b", states=[state_of("b.mrc")], reference=reference)
    entry = load_entry(catalog / "b.yaml")
    found, facts = registered(entry, own, catalog / "cache")
    assert np.sqrt(((found.positions_xyz - there.positions_xyz) ** 2).sum(1).mean()) < 0.5
    assert (facts["state"], facts["how"]) == ("m", "searched")


@pytest.mark.shared
def test_what_boltz_said_is_kept_by_the_residues_of_the_reference(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "boltz/boltz2_protein_ligand"
    (path,) = folder.rglob("*_model_0.cif")
    entry = CatalogEntry.model_validate(
        {
            "system_id": "b", "family": "b", "split": "train",
            "sources": {"here": {"kind": "local", "folder": str(path.parent)}},
            "reference": {"source": "here", "file": path.name, "method": "boltz-2"},
            "states": [{"state_id": "n", "kind": "normal_mode"}], "simulation": {"resolution": 6.0},
        }
    )  # fmt: skip
    own = load_reference(entry, tmp_path)
    part = residues_of(own, np.arange(40, 90))
    whole, origin = prediction_of(entry, own, tmp_path)
    some, _ = prediction_of(entry, part, tmp_path)
    assert origin["program"] == "boltz-2"
    assert whole["confidence"].shape == (own.n_residues,)
    np.testing.assert_array_equal(some["confidence"], whole["confidence"][40:90])
    np.testing.assert_array_equal(some["pae"], whole["pae"][40:90, 40:90])
    # Its companions decide the store's digest too: confidence, aligned error.
    labels = changeable_files(entry, tmp_path)
    assert f"here:{path.name}" in labels
    assert any(label.startswith("here:pae_") for label in labels)
