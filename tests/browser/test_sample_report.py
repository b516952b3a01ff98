"""The report of a sampled ensemble, opened from disk: every control works, nothing is fetched and nothing fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cryofound.report.sample_page import write_sample_report
from tests.browser.opened import Opened, opened
from tests.made_samples import ANGLES, made_report

LARGEST = 15e6  # bytes


@pytest.fixture(scope="module")
def report(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The report of five samples; every test leaves it without errors and without a request but that for itself."""
    path = tmp_path_factory.mktemp("samples") / "report.html"
    write_sample_report(path, made_report(path.parent))
    assert path.stat().st_size < LARGEST
    found = opened(browser, path)
    yield found
    assert found.errors == []
    assert found.requests == [path.as_uri()]
    found.page.close()


def test_the_slider_goes_through_the_samples_along_the_motion(report: Opened):
    page = report.page
    assert report.drawn() > 20
    order = []
    for place in range(len(ANGLES)):
        report.slide("state", place)
        order.append(int(str(page.text_content("#state-name")).removeprefix("sample_")) - 1)
    angles = [ANGLES[row] for row in order]
    assert angles in (sorted(ANGLES), sorted(ANGLES, reverse=True))
    last = report.picture()
    page.click("#previous")
    assert report.shown()["state"] == len(ANGLES) - 2
    assert report.picture() != last
    page.click("#next")
    assert report.picture() == last
    report.slide("state", 0)


def test_the_motion_plays_back_and_forth(report: Opened):
    page = report.page
    page.click("#play")
    assert page.text_content("#play") == "Pause"
    report.wait("page.viewer.shown.frame >= 3")
    page.click("#play")
    assert page.text_content("#play") == "Play"
    assert report.models() == 0
    atoms = "page.viewer.pathAtoms.map((atom) => [atom.x, atom.y])"
    report.slide("frame", 0)
    first = page.evaluate(atoms)
    report.slide("frame", page.evaluate("page.data.drawn.path.place.length - 1"))
    assert page.text_content("#frame-place") == page.text_content("#state-name")
    moved = max(
        abs(a - b)
        for one, other in zip(first, page.evaluate(atoms), strict=True)
        for a, b in zip(one, other, strict=True)
    )
    assert moved > 2
    report.slide("state", 0)
    assert report.shown()["frame"] is None


def test_colours_follow_what_is_asked_for(report: Opened):
    page = report.page
    assert page.input_value("#colouring") == "uncertainty"
    seen = set()
    for colouring, high in (("uncertainty", "1.48"), ("rmsf", "1.97"), ("displacement", None), ("chain", None)):
        page.select_option("#colouring", colouring)
        seen.add(report.picture())
        assert page.locator("#legend .scale").count() == (colouring != "chain")
        if high:
            assert str(page.text_content("#legend")).endswith(f"{high} Åand more")
    assert len(seen) == 4
    page.check("#side-chains")
    assert report.picture() not in seen
    page.uncheck("#side-chains")
    page.select_option("#colouring", "uncertainty")


def test_the_reference_and_all_samples_can_be_shown_together(report: Opened):
    page = report.page
    alone = report.picture()
    page.check("#beside")
    assert report.picture() != alone
    assert page.evaluate("page.viewer.besideModel.hidden") is False
    page.uncheck("#beside")
    assert report.picture() == alone
    page.check("#together")
    assert report.models() == len(ANGLES)
    assert page.locator("#legend .swatch").count() == len(ANGLES)
    page.uncheck("#together")
    assert report.models() == 1


def test_a_click_in_the_table_or_the_plot_shows_the_sample(report: Opened):
    page = report.page
    page.click("text=sample_04")
    assert page.text_content("#state-name") == "sample_04"
    page.locator("#plot-motions").scroll_into_view_if_needed()
    box = page.locator("#plot-motions .nsewdrag").bounding_box()
    assert box is not None
    x, y = page.evaluate("""(() => {
      const { xaxis, yaxis } = byId("plot-motions")._fullLayout, trace = byId("plot-motions").data[0];
      return [xaxis.l2p(trace.x[1]), yaxis.l2p(trace.y[1])];
    })()""")
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#plot-motions .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    report.wait("document.getElementById('state-name').textContent === 'sample_02'")
    report.slide("state", 0)


def test_a_click_on_a_profile_shows_the_residue(report: Opened):
    page = report.page
    page.locator("#plot-profiles").scroll_into_view_if_needed()
    box = page.locator("#plot-profiles .nsewdrag").nth(1).bounding_box()  # uncertainty
    assert box is not None
    x, y = page.evaluate(
        "(({ xaxis2, yaxis2 }) => [xaxis2.l2p(30), yaxis2.l2p(page.data.residues.uncertainty[30])])"
        "(byId('plot-profiles')._fullLayout)"
    )
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#plot-profiles .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    report.wait("page.viewer.shown.residue === 30")
    told = str(page.text_content("#chosen"))
    assert told.startswith("A/31 ")
    assert "uncertain by 1.01 Å" in told
    page.click("#reset")
    assert report.shown()["residue"] is None


def test_figures_are_explained_and_the_verdict_is_read_first(report: Opened):
    page = report.page
    page.hover("thead >> text=Ramachandran outliers")
    assert "hardly ever seen" in str(page.text_content("#tip"))
    page.mouse.move(1, 1)
    assert page.locator("td.missed").count() == 1
    trust, viewer = (page.locator(each).bounding_box() for each in ("#trust", "#viewer"))
    assert trust is not None
    assert viewer is not None
    assert trust["y"] < viewer["y"]


def test_it_does_not_break_on_a_narrow_screen(report: Opened):
    page = report.page
    page.set_viewport_size({"width": 800, "height": 800})
    report.wait("document.documentElement.scrollWidth <= 800")
    assert report.drawn() > 20
    page.set_viewport_size({"width": 1280, "height": 900})


def test_one_forced_sample_has_no_motion_and_says_so_and_runs_nothing(browser: Browser, tmp_path: Path):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    made = made_report(tmp_path, angles=(4.0,), chain="Z", forced=True, sentences=(hostile,))
    write_sample_report(tmp_path / "report.html", made)
    found = opened(browser, tmp_path / "report.html")
    page = found.page
    assert found.drawn() > 20
    assert page.is_visible("#forced")
    assert not page.is_visible("#many")
    assert not page.is_visible("#path-controls")
    assert page.text_content("#trust li") == hostile
    assert page.locator("img").count() == 0
    assert found.errors == []
    assert len(found.requests) == 1
    page.close()
