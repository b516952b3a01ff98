"""The page of a sampled ensemble: complete, self-contained, small, the same each time, safe with names from files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryofound.report.sample_page import write_sample_report
from cryofound.report.sample_report import FRAMES, path_through, shown_rows, turn_to_see
from tests.html_page import Page
from tests.made_samples import ANGLES, made_report

HOSTILE = "</script><script>injected()</script><img/src=x/onerror=injected()>"


def page_of(path: Path, **kwargs) -> Page:
    write_sample_report(path / "report.html", made_report(path, **kwargs))
    return Page(path / "report.html")


def test_it_says_how_far_to_trust_it_before_anything_else(tmp_path: Path):
    page = page_of(tmp_path)
    for told in ("5 samples of hinge", "61 % of its residues", "left out: 2 ZN", "models:/cryofound@production"):
        assert told in page.shown
    assert page.shown.index("How far to trust this: good") < page.shown.index("Play the motion")
    assert "Sampled by force" not in page.shown
    assert "Sampled by force" in page_of(tmp_path, forced=True).shown


def test_the_viewer_has_the_samples_along_the_first_motion_and_a_path_through_them(tmp_path: Path):
    page = page_of(tmp_path)
    names = [state["id"] for state in page.data["states"]]
    angles = [ANGLES[int(name.removeprefix("sample_")) - 1] for name in names]
    assert angles in (sorted(ANGLES), sorted(ANGLES, reverse=True))
    path = page.data["drawn"]["path"]["place"]
    assert path == pytest.approx(np.linspace(0, len(ANGLES) - 1, FRAMES // 4 * 4 + 1).tolist(), abs=1e-4)
    assert page.data["drawn"]["beside"] is not None
    assert page.data["residues"]["uncertainty"][:1] == [0.5]
    assert len(page.data["residues"]["rmsf"]) == 60
    traces = page.data["figures"]["profiles"]["data"]
    assert [trace.get("meta") for trace in traces] == [{"quantity": "rmsf"}, {"quantity": "uncertainty"}, None]
    assert traces[2]["name"] == "hinge_one, its training states"


def test_of_many_samples_the_viewer_has_some_and_the_table_all(tmp_path: Path):
    page = page_of(tmp_path, angles=np.linspace(-10, 10, 21).tolist(), most=6)
    assert len(page.data["states"]) == 6
    assert "The viewer has 6 of 21 samples" in page.shown
    assert page.shown.count("sample_") == 21
    slider = page.data["figures"]["motions"]["data"][0]["customdata"]
    assert sorted(slider) == [-1] * 15 + list(range(6))


def test_a_figure_beyond_its_limit_stands_out(tmp_path: Path):
    page = page_of(tmp_path)
    assert len([tag for tag, attributes in page.tags if tag == "td" and attributes.get("class") == "missed"]) == 1
    assert "0.70 ▲" in page.shown


def test_names_from_files_are_text_wherever_they_stand(tmp_path: Path):
    made = made_report(tmp_path, sentences=(HOSTILE,), chain="C")
    made = replace(made, title=HOSTILE, notes=(HOSTILE,), names=(HOSTILE, *made.names[1:]))
    made = replace(made, profiles={**made.profiles, HOSTILE: made.profiles["rmsf"]})
    write_sample_report(tmp_path / "report.html", made)
    page = Page(tmp_path / "report.html")
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 7
    assert not [tag for tag, _ in page.tags if tag == "img"]
    names = [trace.get("name") for trace in page.data["figures"]["profiles"]["data"]]
    assert names[-1].startswith("&lt;/script&gt;")


def test_it_is_the_same_each_time_and_fetches_nothing(tmp_path: Path):
    page = page_of(tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    page_of(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert not [tag for tag, attributes in page.tags if {"src", "href"} & set(attributes)]
    policy = next(str(attributes["content"]) for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_rows_are_taken_evenly_along_a_motion():
    place = np.array([3.0, -1.0, 0.0, 2.0, 1.0])
    assert shown_rows(place).tolist() == [1, 2, 4, 3, 0]
    assert shown_rows(place, 3).tolist() == [1, 4, 0]
    assert shown_rows(np.array([7.0])).tolist() == [0]


def test_a_path_ends_at_its_states_and_has_equal_steps():
    states = np.array([[[0.0, 0, 0]], [[4.0, 0, 0]], [[4.0, 8, 0]]])
    path = path_through(list(states), frames=8)
    assert path is not None
    assert path[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4]
    assert path[:, 0, 1].tolist() == [0, 0, 0, 0, 0, 2, 4, 6, 8]
    assert path_through(list(states[:1])) is None


def test_a_motion_is_looked_at_from_where_it_is_seen_best():
    rng = np.random.default_rng(3)
    flat = rng.standard_normal((50, 3)) * [3.0, 2.0, 0.01]
    any_turn = Rotation.from_rotvec([0.4, -0.9, 0.3])
    turned = Rotation.from_quat(turn_to_see(any_turn.apply(flat))).apply(any_turn.apply(flat))
    assert np.abs(turned[:, 2]).max() < 0.05
    assert turn_to_see(flat) == pytest.approx([0, 0, 0, 1], abs=0.01)
