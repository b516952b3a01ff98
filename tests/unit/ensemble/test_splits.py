"""Who is in which subset, and which sample in which file, by names and seeds alone."""

import itertools
from pathlib import Path

from cryofound.catalog.entry import CatalogEntry
from cryofound.config import ShardsConfig
from cryofound.ensemble.shards import shard_key, write_shard
from cryofound.ensemble.splits import sample_bytes, shard_contents, state_subset, subsets
from cryofound.maps.density_map import Grid

GRID = Grid.centred(16, 2.0)


def entries(number: int, families: int = 50, held_out: tuple[int, ...] = ()) -> list[CatalogEntry]:
    return [
        CatalogEntry.model_validate(
            {
                "system_id": f"s{row}",
                "family": f"f{row % families}",
                "split": "held_out" if row in held_out else "train",
                "sources": {"here": {"kind": "local", "folder": "."}},
                "reference": {"source": "here", "file": "a.cif"},
                "states": [{"state_id": "a", "kind": "map", "source": "here", "file": "a.mrc", "resolution": 4.0}],
            }
        )
        for row in range(number)
    ]


def test_without_shares_only_what_is_held_out_is_set_aside() -> None:
    found = subsets(entries(20, held_out=(3, 7)), ShardsConfig())
    assert [name for name, subset in found.items() if subset != "train"] == ["s3", "s7"]
    assert found["s3"] == "test"
    assert [state_subset("train", split) for split in ("train", "validation")] == ["train", "validation"]
    assert [state_subset("test", split) for split in ("train", "validation")] == ["test", "test"]


def test_shares_are_kept_and_a_system_stays_where_it_is_when_others_join() -> None:
    config = ShardsConfig(validation=0.2, test=0.1)
    few, many = subsets(entries(400), config), subsets(entries(2000), config)
    assert all(many[name] == subset for name, subset in few.items())
    shares = [sum(each == subset for each in many.values()) / 2000 for subset in ("train", "validation", "test")]
    for share, wanted in zip(shares, (0.7, 0.2, 0.1), strict=True):
        assert abs(share - wanted) < 4 * (0.25 / 2000) ** 0.5
    assert subsets(entries(400), ShardsConfig(validation=0.2, test=0.1, seed=1)) != few


def test_families_stay_whole_where_asked() -> None:
    some = entries(200, families=20, held_out=(4,))
    found = subsets(some, ShardsConfig(validation=0.3, test=0.2, whole_families=True))
    for family in {entry.family for entry in some}:
        assert len({found[entry.system_id] for entry in some if entry.family == family}) == 1
    assert found["s24"] == "test"  # of the family of s4
    assert set(found.values()) == {"train", "validation", "test"}


def test_every_sample_is_in_one_file_wherever_it_was_listed() -> None:
    samples = [(f"s{row % 7}", row // 7) for row in range(700)]
    config = ShardsConfig(mebibytes=1)
    grids = {f"s{row}": GRID for row in range(7)}
    files = shard_contents(samples, grids, config)
    assert sorted(each for file in files for each in file) == sorted(samples)
    assert shard_contents(samples[::-1], grids, config) == files
    assert shard_contents(samples, grids, ShardsConfig(mebibytes=1, seed=1)) != files
    assert len({name for name, _ in files[0]}) == 7  # systems are mixed


def test_a_full_file_keeps_its_size(tmp_path: Path) -> None:
    import numpy as np

    config = ShardsConfig(mebibytes=1)
    samples = [("s" * 60, row) for row in range(100)]
    number = len(shard_contents(samples, {"s" * 60: GRID}, config)[0])
    meta = {"system_id": "s" * 60, "state_id": "t" * 30, "population": 1 / 3, "resolution": 10 / 3, "state_index": 9999}
    density = np.zeros(GRID.shape_zyx, np.float32)
    write_shard(tmp_path / "a.tar", ((shard_key("s" * 60, f"{row}"), density, meta) for row in range(number)))
    size = (tmp_path / "a.tar").stat().st_size
    assert number < 100
    assert 0.9 * 2**20 < size <= 2**20


def test_files_of_samples_of_several_sizes_are_full_but_not_too_large() -> None:
    grids = {"small": GRID, "large": Grid.centred(48, 2.0)}
    samples = [(name, row) for name, count in (("small", 60), ("large", 5)) for row in range(count)]
    files = shard_contents(samples, grids, ShardsConfig(mebibytes=1))
    assert sorted(each for file in files for each in file) == sorted(samples)
    sizes = [sum(sample_bytes(grids[name]) for name, _ in file) for file in files]
    assert max(sizes) <= 2**20 < min(a + b for a, b in itertools.pairwise(sizes)) + sample_bytes(grids["large"])
