"""Plots of a report: marks where chains begin, and colours that tell states apart."""

from pathlib import Path

from cryofound.report.build_report import read_build_report
from cryofound.report.figures import fsc_figure, profiles_figure, state_colours
from tests.made_builds import RESOLUTION, made_build


def test_every_state_has_a_colour_of_its_own():
    for count in (1, 5, 8, 9, 20, 40):
        assert len(set(state_colours(count))) == count


def test_ticks_bear_the_residues_numbers_and_few_of_them(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out", ("alone",), residues=90)
    layout = profiles_figure(read_build_report(tmp_path / "out", maps, facts))["layout"]
    assert layout["xaxis3"]["ticktext"] == [str(number) for number in range(10, 100, 10)]
    assert layout["xaxis3"]["tickvals"] == list(range(9, 99, 10))


def test_the_maps_resolution_is_marked_on_the_fsc(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out")
    figure = fsc_figure(read_build_report(tmp_path / "out", maps, facts))
    assert 1 / RESOLUTION in [shape["x0"] for shape in figure["layout"]["shapes"]]
    assert [trace["name"] for trace in figure["data"]] == ["one", "two"]
    assert figure["data"][0]["text"][0] == "50.00 Å"
