"""Validation tells by headers what an entry's files are like, and is quick about it."""

import time
from pathlib import Path

import pytest
import yaml

from cryofound.catalog.entry import CatalogEntry, load_entry
from cryofound.catalog.files import entry_text, read_entries
from cryofound.catalog.validation import check_entry
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map
from tests.unit.catalog.made_series import frames, made_series

STATES, ENTRIES = 20, 50


def entry_of(folder: Path, names: tuple[str, ...], **changes: object) -> dict:
    states = [
        {"state_id": f"s_{row}", "kind": "map", "source": "here", "file": name, "resolution": 4.0}
        for row, name in enumerate(names)
    ]
    return {
        "system_id": "one", "family": "made", "split": "train", "citation": "c", "licence": "l",
        "sources": {"here": {"kind": "local", "folder": str(folder)}},
        "reference": {"source": "here", "file": "model.cif"}, "states": states, **changes,
    }  # fmt: skip


def told(entry: dict, tmp_path: Path) -> list[tuple[str, str]]:
    return [(each.kind, each.text) for each in check_entry(CatalogEntry.model_validate(entry), tmp_path / "cache")]


def test_a_sound_entry_has_no_findings(tmp_path: Path) -> None:
    folder = made_series(tmp_path / "data", frames(2))
    assert told(entry_of(folder, frames(2)), tmp_path) == []


def test_deposited_maps_may_have_grids_of_their_own_and_half_maps_that_of_their_map(tmp_path: Path) -> None:
    folder = made_series(tmp_path / "data", frames(3))
    density = read_map(folder / frames(3)[1])
    grid = Grid(density.grid.shape_zyx, 2.5, density.grid.origin_xyz)
    write_map(folder / frames(3)[1], DensityMap(density.values_zyx, grid))
    entry = entry_of(folder, frames(2))
    assert [kind for kind, _ in told(entry, tmp_path)] == ["wrong"]
    entry["series"] = {"program": "emdb"}
    assert told(entry, tmp_path) == []
    halves = [{"source": "here", "file": frames(3)[0]}, {"source": "here", "file": frames(3)[1]}]
    entry["states"][0]["half_maps"] = halves
    assert [kind for kind, _ in told(entry, tmp_path)] == ["wrong"]


def test_what_to_bring_is_said_for_each_file(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, ("J*_frame_000.mrc",))
    entry["sources"]["here"]["bring"] = "the volumes of job J42"
    lines = [text for kind, text in told(entry, tmp_path) if kind == "missing"]
    assert lines == [
        f"{tmp_path}/model.cif: not in its source; bring the volumes of job J42",
        f"{tmp_path}/J*_frame_000.mrc: not in its source; bring the volumes of job J42",
    ]
    made_series(tmp_path, ("J1_frame_000.mrc",))
    assert told(entry, tmp_path) == []
    (tmp_path / "J2_frame_000.mrc").touch()
    assert "matches 2 files (J1_frame_000.mrc, J2_frame_000.mrc, ...)" in told(entry, tmp_path)[0][1]


@pytest.mark.shared
def test_the_same_map_placed_in_two_ways_is_one_grid(tmp_path: Path, shared_data: Path) -> None:
    names = ("emd_21457_seg.mrc", "emd_21457_seg_nstart.mrc")
    entry = entry_of(shared_data / "maps/emd21457seg_6vyb", names)
    entry["reference"]["file"] = "6vyb_Ndom.pdb.gz"
    assert told(entry, tmp_path) == []


def test_the_paper_s_systems_say_what_the_issue_lists(repository: Path) -> None:
    entries = {
        path.stem: entry
        for path, entry in read_entries(repository / "configs/catalog/paper")
        if isinstance(entry, CatalogEntry)
    }
    facts = {
        name: (
            entry.system_id, entry.split, entry.symmetry,
            (*entry.accessions.empiar, *entry.accessions.emdb, *entry.accessions.pdb),
            entry.series and entry.series.component,
            [step.model_dump(mode="json", exclude_defaults=True) for step in entry.preprocessing],
            [(*group.names, group.residues) for group in entry.chains],
        )
        for name, entry in entries.items()
    }  # fmt: skip
    tetramer = [("A", "B", "C", "D", None)]
    resample, zone = {"kind": "resample", "voxel_size": 2.5}, {"kind": "zone", "radius": 5.0}
    box = {"kind": "box", "shape_xyz": [50, 100, 90], "centre": "density"}
    glycoprotein = ("EMD-40226", "EMD-40259", "EMD-40258", "EMD-40227", "8GMG", "8SA1", "8SA0", "8GMJ")
    assert facts == {
        "trpv3": ("TRPV3", "train", "C4", ("EMPIAR-10400",), 4, [], tetramer),
        "trpv5": ("TRPV5", "held_out", "C4", ("EMPIAR-10255",), 4, [], tetramer),
        "integrin_avb8": (
            "integrin-aVb8", "train", "C1", ("EMPIAR-10345",), 1,
            [resample, {"kind": "threshold", "level": 0.28}, box], [("A", (1, 958)), ("B", (1, 636))],
        ),
        "nk1r": (
            "NK1R", "train", "C1", ("EMPIAR-10786",), 1,
            [resample, zone, {"kind": "dust", "size": 5.0}], [("B", (26, None))],
        ),
        "p_glycoprotein": ("P-glycoprotein", "train", "C1", glycoprotein, None, [zone], [("A", None)]),
    }  # fmt: skip
    assert [(state.source, state.fitted_model.source) for state in entries["p_glycoprotein"].states] == [
        ("emd_40226", "pdb_8gmg"), ("emd_40259", "pdb_8sa1"), ("emd_40258", "pdb_8sa0"), ("emd_40227", "pdb_8gmj"),
    ]  # fmt: skip


def test_the_paper_s_systems_name_every_file_to_bring(repository: Path, tmp_path: Path) -> None:
    findings = {
        entry.system_id: check_entry(entry, tmp_path)
        for _, entry in read_entries(repository / "configs/catalog/paper")
        if isinstance(entry, CatalogEntry)
    }
    missing = {name: [each.text for each in told if each.kind == "missing"] for name, told in findings.items()}
    assert {name: len(lines) for name, lines in missing.items()} == {
        "TRPV3": 21, "TRPV5": 21, "integrin-aVb8": 21, "NK1R": 21, "P-glycoprotein": 1,
    }  # fmt: skip
    assert all("; bring " in line and "\n" not in line for lines in missing.values() for line in lines)
    assert "bring boltz_results_*, the Boltz-2 prediction of TRPV3" in missing["TRPV3"][0]
    assert "volumes of EMPIAR-10255" in missing["TRPV5"][1]
    assert not [each for told in findings.values() for each in told if each.kind == "wrong"]


def test_entries_come_back_as_they_were_written(tmp_path: Path, repository: Path) -> None:
    for path, entry in read_entries(repository / "configs/catalog"):
        assert isinstance(entry, CatalogEntry)
        (tmp_path / "again.yaml").write_text(entry_text(entry))
        assert load_entry(tmp_path / "again.yaml") == entry, path


def test_fifty_entries_of_twenty_maps_take_a_twentieth_of_half_a_minute(tmp_path: Path) -> None:
    names = frames(STATES)
    folder = made_series(tmp_path / "data", names)
    (tmp_path / "catalog").mkdir()
    for number in range(ENTRIES):
        text = yaml.safe_dump({**entry_of(folder, names), "system_id": f"s{number}"})
        (tmp_path / f"catalog/{number}.yaml").write_text(text)
    start = time.process_time()
    findings = [
        finding
        for _, entry in read_entries(tmp_path / "catalog")
        for finding in check_entry(entry, tmp_path / "cache")  # type: ignore[arg-type]  # an error would have no files
    ]
    assert not findings
    assert time.process_time() - start < 30 * ENTRIES / 1000
