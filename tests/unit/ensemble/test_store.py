"""The system store: what goes in comes out, and what is not whole is not opened."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from cryofound.ensemble.store import open_store, read_density, read_provenance, read_system, system_folder, write_system
from cryofound.ensemble.system import State, System
from cryofound.errors import StoreError
from cryofound.manifest import publishing
from cryofound.maps.density_map import Grid
from tests.made_proteins import made_protein

REFERENCE = made_protein(20)
GRID = Grid.centred(16, 2.0)
DENSITIES = np.random.default_rng(0).normal(size=(18, 16, 16, 16)).astype(np.float32)
SYSTEM = System(
    system_id="made",
    family="proteins",
    split="train",
    reference=REFERENCE,
    family_position=np.linspace(-1, 18.5, 20, dtype=np.float32),
    states=tuple(State(f"s{row}", 0.5 + row, 6.0, "validation" if row % 5 == 4 else "train") for row in range(18)),
    truth_xyz=np.random.default_rng(1).normal(size=(18, REFERENCE.n_atoms, 3)).astype(np.float32),
    truth_mask=np.random.default_rng(2).random((18, REFERENCE.n_atoms)) < 0.9,
    grid=GRID,
)


def test_round_trip(tmp_path: Path) -> None:
    write_system(tmp_path / "made", SYSTEM, DENSITIES, {"why": ["a", 1]})
    back = read_system(tmp_path / "made")
    for name in ("system_id", "family", "split", "states", "grid"):
        assert getattr(back, name) == getattr(SYSTEM, name)
    for name in ("family_position", "truth_xyz", "truth_mask"):
        np.testing.assert_array_equal(getattr(back, name), getattr(SYSTEM, name), strict=True)
    for field in fields(REFERENCE):
        np.testing.assert_array_equal(getattr(back.reference, field.name), getattr(REFERENCE, field.name), strict=True)
    for row in (0, 15, 16, 17):  # on both sides of a shard's end
        np.testing.assert_array_equal(read_density(tmp_path / "made", row), DENSITIES[row], strict=True)
    assert read_provenance(tmp_path / "made") == {"why": ["a", 1]}
    with pytest.raises(StoreError, match="has maps 0 to 17, map 18 was asked for"):
        read_density(tmp_path / "made", 18)


def test_maps_must_fit_the_system(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"maps have shape \(17, 16, 16, 16\), the system has \(18, 16, 16, 16\)"):
        write_system(tmp_path / "made", SYSTEM, DENSITIES[:17], {})
    assert not (tmp_path / "made").exists()


def test_a_store_is_what_its_manifest_lists(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with publishing(store, systems=["a", "b"]) as unfinished:
        for name in ("b", "a"):
            write_system(system_folder(unfinished, name), replace(SYSTEM, system_id=name), DENSITIES, {})
    assert list(open_store(store)) == ["a", "b"]
    chunk = next(path for path in (store / "systems/a/maps").rglob("*") if path.is_file() and path.name != "zarr.json")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match="checksum differs from its manifest"):
        open_store(store)
    (store / "manifest.json").unlink()
    with pytest.raises(StoreError, match="was never finished"):
        open_store(store)
    with pytest.raises(StoreError, match="not a finished system"):
        read_system(tmp_path / "none")
