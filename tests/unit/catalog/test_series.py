"""Series are read as the programs write them."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.catalog.series import find_series
from cryofound.errors import MapError

MODEL_STAR = """
data_model_general
_rlnReferenceDimensionality 3
_rlnNrClasses 3

data_model_classes

loop_
_rlnReferenceImage #1
_rlnClassDistribution #2
_rlnAccuracyRotations #3
_rlnEstimatedResolution #4
Class3D/job025/run_it025_class001.mrc 0.250000 1.5 6.400000
Class3D/job025/run_it025_class002.mrc 0.750000 1.2 999.00000
Class3D/job025/run_it025_class003.mrc 0.000000 9.0 inf

data_model_class_1

loop_
_rlnSpectralIndex #1
_rlnResolution #2
0 0.0
"""


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def ids(place: Path | str) -> list[str]:
    return [state.state_id for state in find_series(place).states]


def test_cryosparc_frames_come_in_their_order_without_masks_beside_them(tmp_path: Path) -> None:
    names = [f"cryosparc_P3_J42_component_004_frame_{frame:03d}.mrc" for frame in (10, 2, 0)]
    touched(tmp_path, *names, "J42_component_004_mask.mrc", "J42_map.mrc")
    series = find_series(tmp_path)
    assert (series.program, series.job, series.component) == ("cryosparc-3dva", "J42", 4)
    assert ids(tmp_path) == ["frame_000", "frame_002", "frame_010"]
    assert series.states[0].path == tmp_path / names[2]
    with pytest.raises(MapError, match=r"J42_component_004_mask.mrc is not of the series of .*; narrow the pattern"):
        find_series(f"{tmp_path}/*component_004*")


def test_two_components_must_be_told_apart(tmp_path: Path) -> None:
    touched(tmp_path, "J42_component_000_frame_000.mrc", "J42_component_001_frame_000.mrc")
    with pytest.raises(MapError, match=r"holds J42 component 0, J42 component 1; .* 'J42_component_000_\*'"):
        find_series(tmp_path)
    assert find_series(f"{tmp_path}/J42_component_001_*").component == 1


def test_cryodrgn_populations_are_the_shares_of_labels(tmp_path: Path) -> None:
    folder = touched(tmp_path / "analyze.49/kmeans4", *(f"vol_{number:03d}.mrc" for number in range(4)))
    np.save(folder / "labels.npy", np.array([0, 1, 1, 3, 3, 3, 3, 3]))
    series = find_series(folder)
    assert series.program == "cryodrgn"
    assert [(state.state_id, state.population) for state in series.states] == [
        ("vol_000", 0.125), ("vol_001", 0.25), ("vol_003", 0.625),
    ]  # fmt: skip
    assert "no particle has the labels 2" in series.notes[0]
    (folder / "labels.npy").unlink()
    (folder / "labels.txt").write_text("3\n3\n0\n0\n1\n2\n2\n2\n")
    assert [state.population for state in find_series(folder).states] == [0.25, 0.125, 0.375, 0.25]


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    folder = touched(tmp_path, "vol_000.mrc", "vol_001.mrc")
    (folder / "labels.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "harm").encode() + b"'\ntR.")
    series = find_series(folder)
    assert "labels.pkl is a pickle" in series.notes[0]
    assert [state.population for state in series.states] == [None, None]
    assert not (tmp_path / "harm").exists()
    # The same in an array that only unpickling could read.
    (folder / "labels.pkl").rename(folder / "labels.npy")
    with pytest.raises(MapError, match=r"labels.npy: not a list of cluster numbers"):
        find_series(folder)


def test_a_principal_component_is_the_component(tmp_path: Path) -> None:
    folder = touched(tmp_path / "analyze.49/pc2", "vol_000.mrc", "vol_001.mrc")
    assert find_series(folder).component == 2


def test_relion_takes_the_last_iteration_with_its_model_file(tmp_path: Path) -> None:
    names = [f"run_it{step:03d}_class{number:03d}.mrc" for step in (24, 25) for number in (1, 2, 3)]
    touched(tmp_path, *names, "run_it025_half1_class001.mrc")
    (tmp_path / "run_it025_model.star").write_text(MODEL_STAR)
    series = find_series(tmp_path)
    assert (series.program, series.job) == ("relion", "run_it025")
    assert [(state.path.name, state.population, state.resolution) for state in series.states] == [
        ("run_it025_class001.mrc", 0.25, 6.4), ("run_it025_class002.mrc", 0.75, None),
    ]  # fmt: skip
    assert series.notes == ("no particle is in run_it025_class003.mrc: left out",)
    touched(tmp_path, "other_it025_class001.mrc")
    with pytest.raises(MapError, match="holds the runs other_it025, run_it025"):
        find_series(tmp_path)


def test_relion_without_its_model_file(tmp_path: Path) -> None:
    touched(tmp_path, "run_class001.mrc", "run_class002.mrc", "run_it025_class001.mrc")
    series = find_series(tmp_path)
    assert [state.path.name for state in series.states] == ["run_class001.mrc", "run_class002.mrc"]
    assert series.notes == ("run_model.star is not there: populations are not known",)
    (tmp_path / "run_model.star").write_text("data_x\nloop_\n_a\n_b\n1\n")
    with pytest.raises(MapError, match=r"run_model.star: not a readable STAR file"):
        find_series(tmp_path)


def test_emdb_and_other_names(tmp_path: Path) -> None:
    touched(tmp_path / "emdb", "emd_40226.map.gz", "emd_3488.map")
    assert find_series(tmp_path / "emdb").program == "emdb"
    assert ids(tmp_path / "emdb") == ["emd_3488", "emd_40226"]
    touched(tmp_path / "other", "my map 10.mrc", "my map 9.mrc", "notes.md")
    assert find_series(tmp_path / "other").program == "other"
    assert ids(tmp_path / "other") == ["my_map_9", "my_map_10"]
    assert ids(tmp_path / "other/my map 9.mrc") == ["my_map_9"]
    touched(tmp_path / "same", "a b.mrc", "a_b.mrc")
    with pytest.raises(MapError, match="would both be a_b"):
        find_series(tmp_path / "same")


@pytest.mark.parametrize(
    "text",
    ["path,population,resolution\na.mrc, 2, 4.5\nsub/b.mrc,1,\n", "a.mrc 2 4.5  # first\n\nsub/b.mrc 1 -\n",
     "path\tresolution\tpopulation\na.mrc\t4.5\t2\nsub/b.mrc\t?\t1\n"],
)  # fmt: skip
def test_lists(text: str, tmp_path: Path) -> None:
    (tmp_path / "maps.txt").write_text(text)
    states = find_series(tmp_path / "maps.txt").states
    assert [(state.path, state.population, state.resolution) for state in states] == [
        (tmp_path / "a.mrc", 2.0, 4.5), (tmp_path / "sub/b.mrc", 1.0, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "names no map"), ("path colour\na.mrc red\n", "column colour is unknown"),
        ("a.mrc -1\n", "is no positive"),
        ("a.mrc nan\n", "'nan' is no positive number"), ("a.mrc 1 2 3\n", "has 4 columns"),
    ],
)  # fmt: skip
def test_faulty_lists_in_one_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "maps.txt").write_text(text)
    with pytest.raises(MapError, match=expected) as raised:
        find_series(tmp_path / "maps.txt")
    assert "\n" not in str(raised.value)


def test_no_map(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="holds no map"):
        find_series(tmp_path)
    with pytest.raises(MapError, match=r"\*_frame_\*.mrc: no map matches; give a folder, a pattern in quotes"):
        find_series(f"{tmp_path}/*_frame_*.mrc")


@pytest.mark.shared
def test_a_real_cryodrgn_series(shared_data: Path) -> None:
    series = find_series(shared_data / "maps/series_50S_cryodrgn")
    assert series.program == "cryodrgn"
    assert len(series.states) == 12
    assert [series.states[0].state_id, series.states[-1].state_id] == ["vol_018", "vol_498"]
