"""`cryofound catalog`: from a folder of maps to an entry, and every fault in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from cryofound.catalog.entry import MapState, load_entry
from cryofound.cli import main
from cryofound.manifest import file_sha256, publishing
from cryofound.maps.density_map import DensityMap, Grid
from cryofound.maps.mrc import read_map, write_map
from cryofound.maps.shells import half_map_resolution
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein
from tests.unit.catalog.made_series import GRID, frames, made_density, made_series


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `data` with a series of three maps, its model and its sequence; catalog and home beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYOFOUND_MIRROR", raising=False)
    return made_series(tmp_path / "data", frames(3))


def add(*more: str, maps: str = "data/J42_component_004_frame_*.mrc", name: str = "EMPIAR-10400") -> int:
    given = {
        "--maps": maps, "--reference": "data/model.cif", "--sequences": "data/model.fasta", "--family": "made",
        "--out": "catalog", "--home": "home",
    }  # fmt: skip
    for key, value in zip(more[::2], more[1::2], strict=False):
        given[key] = value
    flags = ["--force"] if len(more) % 2 else []
    return main(["catalog", "add", name, *(word for pair in given.items() for word in pair), *flags])


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the last command, without its beginning."""
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: ")
    return printed.removeprefix("error: ").rstrip()


def test_add_writes_what_the_files_say(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add("--resolution", "6.5", "--citation", "made up", "--licence", "CC0-1.0") == 0
    printed = capsys.readouterr().out
    assert "3: frame_000 to frame_002; cryosparc-3dva, J42, component 4" in printed
    assert "28 x 20 x 24 voxels (x, y, z) of 3 A" in printed
    assert "1 x made (A): 60 residues" in printed
    assert "docked: 100% of its CA in the box" in printed
    assert "note:" not in printed
    entry = load_entry(Path("catalog/EMPIAR-10400.yaml"))
    assert (entry.system_id, entry.accessions.empiar) == ("EMPIAR-10400", ("EMPIAR-10400",))
    assert [state.state_id for state in entry.states] == ["frame_000", "frame_001", "frame_002"]
    for state in entry.states:
        assert isinstance(state, MapState)
        assert (state.resolution, state.resolution_from) == (6.5, "stated")
        assert state.sha256 == file_sha256(data / str(state.file))
    assert entry.reference.placement == "docked"
    assert entry.chains[0].names == ("A",)
    picture = imread("catalog/EMPIAR-10400.png")
    assert picture[..., :3].std() > 0.05
    assert main(["catalog", "validate", "--catalog", "catalog", "--home", "home", "--checksums"]) == 0
    assert capsys.readouterr().out == "entries=1 wrong=0 missing=0 open=0\n"


def test_add_twice_gives_the_same_bytes_and_never_overwrites(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add() == 0
    before = {path.name: path.read_bytes() for path in Path("catalog").iterdir()}
    capsys.readouterr()
    assert add() == 1
    assert refused(capsys).startswith("catalog/EMPIAR-10400.yaml: is there already; give --force")
    assert add("--force") == 0
    assert {path.name: path.read_bytes() for path in Path("catalog").iterdir()} == before
    assert "no resolution is known: twice the voxel size is assumed" in capsys.readouterr().out
    assert yaml.safe_load(before["EMPIAR-10400.yaml"])["states"][0]["resolution_from"] == "assumed"


def test_folders_below_the_catalog_move_with_it(data: Path, tmp_path: Path) -> None:
    assert add("--out", str(tmp_path)) == 0
    assert yaml.safe_load(Path("EMPIAR-10400.yaml").read_text())["sources"]["maps"]["folder"] == "data"
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    shutil.rmtree(data)
    assert main(["catalog", "validate", "EMPIAR-10400", "--catalog", "elsewhere", "--home", "home", "--strict"]) == 0


def shifted(path: Path, **changes: object) -> None:
    density = read_map(path)
    grid = Grid(**{**vars(density.grid), **changes})  # type: ignore[arg-type]  # changes are fields of Grid
    write_map(path, DensityMap(density.values_zyx, grid))


def test_maps_that_do_not_belong_together(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, first = data / frames(3)[2], frames(3)[0]
    shifted(last, voxel_size=3.1)
    assert add() == 1
    assert refused(capsys).startswith(f"data/{last.name}: voxel size 3.1 A, not the 3 of {first}")
    shifted(last, voxel_size=3.0, origin_xyz=(0.0, 0.0, 1.0))
    assert add() == 1
    assert "origin 0.00, 0.00, 1.00 A, not the -30.00, -28.00, -36.00 of" in refused(capsys)
    write_map(last, DensityMap(np.ones((8, 8, 8), np.float32), Grid((8, 8, 8), 3.0, GRID.origin_xyz)))
    assert add() == 1
    assert f"box 8x8x8 voxels (z, y, x), not the 24x20x28 of {first}" in refused(capsys)
    write_map(last, DensityMap(np.ones(GRID.shape_zyx, np.float32), GRID))
    assert add() == 1
    assert "every value is 1" in refused(capsys)
    shutil.copy(data / first, last)
    assert add() == 1
    assert "holds the same bytes as" in refused(capsys)
    raw = bytearray(last.read_bytes())
    raw[1024:1028] = np.float32(np.nan).tobytes()
    last.write_bytes(raw)
    assert add() == 1
    assert "1 of 13440 values are NaN" in refused(capsys)
    assert not list(Path("catalog").iterdir())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--reference", "data/none.cif"), "data/none.cif: no such file"),
        (("--sequences", "data/none.fasta"), "data/none.fasta: cannot be read"),
        (("--symmetry", "C4x"), "EMPIAR-10400: symmetry: symmetry C4x is unknown; give C1, C2"),
        (("--family", "a.b"), "EMPIAR-10400: family: String should match"),
        (("--out", "data/model.fasta"), "data/model.fasta: cannot be written to"),
        (("--resolution", "-3"), "EMPIAR-10400: states.0.map.resolution: Input should be greater than 0"),
    ],
)
def test_what_was_given_wrong(
    more: tuple[str, ...], expected: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(*more) == 1
    assert refused(capsys).startswith(expected)


def test_ids_and_maps_that_are_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("EMPIAR-104", "empiar-10400", "EMD-402260", "EMPAIR-10400"):
        assert add(name=name) == 1
        assert refused(capsys).startswith(f"{name}: is no id of EMPIAR (EMPIAR-10400) or EMDB (EMD-40226)")
    assert add(name="my system") == 1
    assert refused(capsys).startswith("my system: is no name")
    assert add(maps="data/J43_*.mrc") == 1
    assert refused(capsys).startswith("data/J43_*.mrc: no map matches")
    assert main(["catalog", "add", "mine", "--reference", "data/model.cif", "--family", "f"]) == 1
    assert refused(capsys).startswith("mine: which maps? give --maps")


def test_a_sequence_that_the_reference_does_not_have(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (data / "model.fasta").read_text()
    wrong = "W" if text[16] != "W" else "A"
    (data / "model.fasta").write_text(text[:16] + wrong + text[17:])
    assert add() == 1
    line = refused(capsys)
    assert f"chain A does not match the sequence made: position 11 is {wrong}, the structure's residue 11 is" in line
    (data / "model.fasta").write_text(f">other\n{'GW' * 40}\n")
    assert add() == 1
    assert "chain A (60 residues) is like none of the sequences other" in refused(capsys)
    (data / "model.fasta").write_text(f"{text}>other\n{'GW' * 40}\n")
    assert add() == 1
    assert "no chain has the sequence other" in refused(capsys)


def test_a_reference_elsewhere_is_undocked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = made_protein(60)
    write_ensemble(data / "away.cif", model, model.positions_xyz[None] + 300)
    assert add("--reference", "data/away.cif", "--symmetry", "C2") == 0
    printed = capsys.readouterr().out
    assert "away.cif does not lie in the density" in printed
    assert "1 copies of made are not a multiple of the 2 that C2 asks for" in printed
    assert load_entry(Path("catalog/EMPIAR-10400.yaml")).reference.placement == "undocked"


def test_list_show_validate_remove(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add() == 0
    assert add(name="second") == 0
    capsys.readouterr()
    assert main(["catalog", "list", "--catalog", "catalog"]) == 0
    printed = capsys.readouterr().out
    assert "EMPIAR-10400" in printed
    assert "cryosparc-3dva, J42, component 4" in printed
    assert main(["catalog", "show", "second", "--catalog", "catalog"]) == 0
    shown = capsys.readouterr().out
    Path("again.yaml").write_text(shown)
    assert load_entry(Path("again.yaml")) == load_entry(Path("catalog/second.yaml"))
    (data / frames(3)[1]).unlink()
    with (data / frames(3)[2]).open("r+b") as stream:
        stream.truncate(5000)
    validate = ["catalog", "validate", "second", "--catalog", "catalog", "--home", "home"]
    assert main(validate) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"missing second: {data}/{frames(3)[1]}: not in its source; correct the entry's file or the source's members"
    )
    assert lines[1].startswith(f"wrong   second: {data}/{frames(3)[2]}: cut short")
    assert lines[2:5] == [f"open    second: {what}" for what in (
        "citation: not given", "licence: not given", "resolution of frame_000 and others: only assumed",
    )]  # fmt: skip
    assert lines[5] == "entries=1 wrong=1 missing=1 open=3"
    assert main(["catalog", "remove", "seccond", "--catalog", "catalog"]) == 1
    assert refused(capsys) == "seccond: no such entry in catalog; it has second (2 in all)"
    assert main(["catalog", "remove", "second", "--catalog", "catalog"]) == 0
    assert sorted(path.name for path in Path("catalog").iterdir()) == ["EMPIAR-10400.png", "EMPIAR-10400.yaml"]
    assert (data / "model.cif").is_file()


def test_broken_and_double_entries_do_not_hide_the_others(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add() == 0
    shutil.copy("catalog/EMPIAR-10400.yaml", "catalog/copy.yaml")
    Path("catalog/broken.yaml").write_text("schema_version: 9\n")
    capsys.readouterr()
    assert main(["catalog", "validate", "--catalog", "catalog", "--home", "home"]) == 1
    printed = capsys.readouterr()
    assert "wrong   catalog/broken.yaml: schema_version: is 9, this program reads 2; update CryoFound" in printed.out
    assert "wrong   catalog/copy.yaml: system_id EMPIAR-10400 is already that of catalog/EMPIAR" in printed.out
    assert "entries=3 wrong=2 missing=0" in printed.out
    assert printed.err == "error: catalog: 2 findings to mend; they are listed above\n"
    assert main(["catalog", "list", "--catalog", "catalog"]) == 1
    assert "EMPIAR-10400" in capsys.readouterr().out


def test_status_tells_what_is_ingested_and_what_has_changed_since(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add() == 0
    assert add(name="second") == 0
    entry = load_entry(Path("catalog/EMPIAR-10400.yaml"))
    inputs = {f"maps:{name}": file_sha256(data / name) for name in frames(3)}
    facts = {"system_id": entry.system_id, "states": [{}, {}, {}]}
    provenance = {"entry": entry.model_dump(mode="json"), "sha256": inputs}
    with publishing(Path("home/store-0123/systems/EMPIAR-10400")) as folder:
        (folder / "zarr.json").write_text(json.dumps({"attributes": {**facts, "provenance": provenance}}))
    status = ["catalog", "status", "--catalog", "catalog", "--home", "home", "--checksums"]

    def row(name: str) -> str:
        capsys.readouterr()
        assert main(status) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if name in line)

    assert [cell.strip() for cell in row("EMPIAR").split("│")[1:-1]] == ["EMPIAR-10400", "store-0123", "3", "3", "same"]
    assert "not ingested" in row("second")
    shifted(data / frames(3)[0], voxel_size=3.5)
    assert f"{frames(3)[0]} changed" in row("EMPIAR")
    assert add("--family", "other", "--force") == 1  # its maps are on two grids now
    text = Path("catalog/EMPIAR-10400.yaml").read_text()
    Path("catalog/EMPIAR-10400.yaml").write_text(text.replace("family: made", "family: other"))
    assert "entry changed in family" in row("EMPIAR")


def test_half_maps_give_the_resolution_and_a_mask_lies_on_their_grid(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = made_density(made_protein(60), seed=9)
    for seed, name in enumerate(("half_1.mrc", "half_2.mrc")):
        noise = np.random.default_rng(seed).normal(0.0, 0.05, GRID.shape_zyx).astype(np.float32)
        write_map(data / name, DensityMap(truth.values_zyx + noise, GRID))
    write_map(data / "mask.mrc", DensityMap((truth.values_zyx > 0.05).astype(np.float32), GRID))
    given = [
        "catalog",
        "add",
        "one",
        "--maps",
        f"data/{frames(3)[0]}",
        "--reference",
        "data/model.cif",
        "--family",
        "f",
    ]
    given += ["--half-maps", "data/half_1.mrc", "data/half_2.mrc", "--out", "catalog", "--home", "home"]
    assert main(given) == 0
    state = load_entry(Path("catalog/one.yaml")).states[0]
    assert isinstance(state, MapState)
    halves = [read_map(data / f"half_{half}.mrc") for half in (1, 2)]
    assert state.resolution == pytest.approx(half_map_resolution(*halves).resolution, abs=1e-4)
    assert (state.resolution_from, state.half_maps and state.half_maps[1].file) == ("estimated", "half_2.mrc")
    assert main([*given, "--mask", "data/mask.mrc", "--resolution", "7", "--force"]) == 0
    entry = load_entry(Path("catalog/one.yaml"))
    assert entry.mask is not None
    assert entry.mask.sha256 == file_sha256(data / "mask.mrc")
    shifted(data / "mask.mrc", voxel_size=2.0)
    capsys.readouterr()
    assert main([*given, "--mask", "data/mask.mrc", "--force"]) == 1
    assert refused(capsys).startswith("data/mask.mrc: voxel size 2 A, not the 3")
    assert main([*given[:4], "data/J42_*.mrc", *given[5:], "--force"]) == 1
    assert refused(capsys).startswith("half maps belong to one map, this series has 3")


@pytest.mark.shared
def test_real_haemoglobin_in_its_map_and_in_another_frame(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "maps/emd3488_5ni1"
    for name, placement in (("5ni1_updated.cif.gz", "docked"), ("modelangelo_5ni1.cif.gz", "undocked")):
        given = ["--maps", str(folder / "emd_3488.mrc"), "--reference", str(folder / name), "--symmetry", "C2"]
        given += ["--sequences", str(folder / "5ni1_entry.fasta"), "--family", "globin", "--resolution", "3.2"]
        assert main(["catalog", "add", placement, *given, "--out", str(tmp_path), "--home", str(tmp_path)]) == 0
        entry = load_entry(tmp_path / f"{placement}.yaml")
        assert entry.reference.placement == placement
        assert [len(group.names) for group in entry.chains] == [2, 2]
        assert "copies of" not in capsys.readouterr().out


@pytest.mark.shared
def test_a_real_cryodrgn_series_with_a_real_boltz_folder(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boltz = shared_data / "boltz/boltz2_protein_ligand/results/boltz_results_input"
    given = ["--maps", str(shared_data / "maps/series_50S_cryodrgn"), "--reference", str(boltz), "--family", "ribosome"]
    assert main(["catalog", "add", "s50", *given, "--out", str(tmp_path), "--home", str(tmp_path)]) == 0
    entry = load_entry(tmp_path / "s50.yaml")
    assert len(entry.states) == 12
    assert entry.series is not None
    assert entry.series.program == "cryodrgn"
    assert (entry.reference.method, entry.reference.placement) == ("boltz-2", "undocked")
    assert "with confidence_score" in str(entry.reference.made)
    assert "64 x 64 x 64 voxels (x, y, z) of 6.55 A" in capsys.readouterr().out
