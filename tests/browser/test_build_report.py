"""The report of a build, opened from disk: every control does what it says, nothing is fetched and nothing fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cryofound.report.build_page import write_build_report
from tests.browser.opened import Opened, opened
from tests.made_builds import FRAMES, SHIFT, made_build

STATES = ("one", "two", "three")


@pytest.fixture(scope="module")
def report(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The report of three states; every test leaves it without errors and without a request but that for itself."""
    folder = tmp_path_factory.mktemp("build") / "out"
    maps, facts = made_build(folder, STATES, scores={"molprobity": 1.9})
    path = write_build_report(folder, maps, facts)
    found = opened(browser, path)
    yield found
    assert found.errors == []
    assert found.requests == [path.as_uri()]
    found.page.close()


def test_the_slider_shows_one_state_after_another(report: Opened):
    page = report.page
    assert report.drawn() > 20
    assert report.models() == 1
    first = report.picture()
    report.slide("state", 2)
    assert page.text_content("#state-name") == "three"
    assert report.models() == 1
    assert report.picture() != first
    page.click("#previous")
    assert page.text_content("#state-name") == "two"
    assert "built from one" in str(page.text_content("#state-number"))
    page.click("#next")
    assert report.shown()["state"] == 2
    report.slide("state", 0)
    assert report.picture() == first


def test_states_lie_where_their_models_do(report: Opened):
    places = report.page.evaluate(
        "[0, 2].map((state) => page.viewer.model(state).selectedAtoms({}).map((atom) => atom.x))"
    )
    assert [b - a for a, b in zip(*places, strict=True)] == pytest.approx([2 * SHIFT] * len(places[0]), abs=0.02)


def test_all_states_are_superposed_in_their_own_colours(report: Opened):
    page = report.page
    page.check("#together")
    assert report.models() == 3
    assert page.is_disabled("#colouring")
    assert page.locator("#legend .swatch").count() == 3
    page.uncheck("#together")
    assert report.models() == 1


def test_density_is_drawn_at_the_level_that_is_asked_for(report: Opened):
    page = report.page
    with_map = report.picture()
    page.uncheck("#density")
    assert page.evaluate("page.viewer.surface") is None
    assert report.picture() != with_map
    page.check("#density")
    assert report.picture() == with_map
    low = page.evaluate("page.viewer.faces")
    before = page.text_content("#level-value")
    report.slide("level", 2 * page.evaluate("page.viewer.levels[0]"))
    report.wait(f"page.viewer.faces < {low}")
    assert page.text_content("#level-value") != before
    page.check("#mesh")
    assert page.evaluate("page.viewer.surface.wireframe") is True
    page.uncheck("#mesh")


def test_the_surface_lies_at_the_level(report: Opened):
    """Of values that fall with the square of the distance, a surface is a sphere of a radius that is known."""
    radii = report.page.evaluate("""() => {
      const values = new Uint8Array(32 ** 3);
      values.forEach((_, at) => {
        const [x, y, z] = [at % 32, (at >> 5) % 32, at >> 10].map((each) => each - 15.5);
        values[at] = Math.max(0, Math.round(255 - (x * x + y * y + z * z)));
      });
      const map = { values, shape: [32, 32, 32], voxel: 2, origin: [-31, -31, -31] };
      const { vertexArr, normalArr, faceArr } = isosurface(map, 155.5);
      const at = (row) => vertexArr[row], outward = [];
      for (let k = 0; k < faceArr.length; k += 3) {
        const [a, b, c] = [at(faceArr[k]), at(faceArr[k + 1]), at(faceArr[k + 2])];
        const [u, v] = [b, c].map((each) => [each.x - a.x, each.y - a.y, each.z - a.z]);
        const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        outward.push(n[0] * a.x + n[1] * a.y + n[2] * a.z);
      }
      const along = vertexArr.map((p, row) => {
        const n = normalArr[row];
        return (p.x * n.x + p.y * n.y + p.z * n.z) / Math.hypot(p.x, p.y, p.z);
      });
      return {
        radius: vertexArr.map((p) => Math.hypot(p.x, p.y, p.z)), inward: outward.filter((each) => each <= 0).length,
        faces: faceArr.length / 3, vertices: vertexArr.length, normal: Math.min(...along),
      };
    }""")
    assert radii["radius"] == pytest.approx([2 * 99.5**0.5] * len(radii["radius"]), abs=0.12)
    assert radii["inward"] == 0
    assert radii["normal"] > 0.97
    assert radii["faces"] == 2 * (radii["vertices"] - 2)  # Euler: closed, of one piece, without a hole


def test_colours_follow_what_is_asked_for(report: Opened):
    page = report.page
    seen = set()
    for colouring in ("correlation", "b_factor", "displacement", "chain"):
        page.select_option("#colouring", colouring)
        seen.add(report.picture())
        assert page.locator("#legend .scale").count() == (colouring != "chain")
    assert len(seen) == 4
    page.check("#side-chains")
    assert report.picture() not in seen
    page.uncheck("#side-chains")


def test_the_morph_plays_from_state_to_state(report: Opened):
    page = report.page
    page.click("#play")
    assert page.text_content("#play") == "Pause"
    report.wait("page.viewer.shown.frame >= 2")
    page.click("#play")
    assert page.text_content("#play") == "Play"
    assert report.models() == 0
    assert page.is_disabled("#level")
    report.slide("frame", FRAMES + 1)
    assert page.text_content("#frame-place") == "two"
    frame = page.evaluate("page.viewer.pathAtoms.map((atom) => atom.x)")
    report.slide("frame", 0)
    start = page.evaluate("page.viewer.pathAtoms.map((atom) => atom.x)")
    assert [b - a for a, b in zip(start, frame, strict=True)] == pytest.approx([SHIFT] * len(start), abs=0.02)
    assert report.drawn() > 20
    report.slide("state", 1)
    assert report.shown()["frame"] is None
    assert report.models() == 1


def test_a_click_on_a_plot_centres_the_viewer_on_the_residue(report: Opened):
    page = report.page
    before = page.evaluate("page.viewer.view.getView()")
    page.locator("#plot-profiles").scroll_into_view_if_needed()
    box = page.locator("#plot-profiles .nsewdrag").nth(1).bounding_box()  # displacements: 6 A in state three
    assert box is not None
    x, y = page.evaluate("(({ xaxis2, yaxis2 }) => [xaxis2.l2p(7), yaxis2.l2p(6)])(byId('plot-profiles')._fullLayout)")
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#plot-profiles .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    report.wait("page.viewer.shown.residue === 7")
    assert page.text_content("#state-name") == "three"
    assert str(page.text_content("#chosen")).startswith("A/8 ")
    assert "moved 6.00 Å" in str(page.text_content("#chosen"))
    assert page.evaluate("page.viewer.view.getView()") != before
    sticks = "page.viewer.model(2).selectedAtoms({}).filter((atom) => atom.style.stick).map((atom) => atom.residue)"
    assert 7 in page.evaluate(sticks)
    page.click("#reset")
    assert report.shown()["residue"] is None
    report.slide("state", 0)


def test_scores_are_explained_where_they_are_pointed_at(report: Opened):
    page = report.page
    assert not page.is_visible("#tip")
    page.hover("text=MolProbity score >> nth=-1")
    assert "lower is better" in str(page.text_content("#tip"))
    page.mouse.move(1, 1)
    assert not page.is_visible("#tip")
    assert page.locator("td.missed").count() == 3


def test_it_does_not_break_on_a_narrow_screen(report: Opened):
    page = report.page
    page.set_viewport_size({"width": 900, "height": 800})
    report.wait("document.documentElement.scrollWidth <= 900")
    assert report.drawn() > 20
    page.set_viewport_size({"width": 1280, "height": 900})


def test_one_state_has_no_slider_and_names_from_files_run_nothing(browser: Browser, tmp_path: Path):
    hostile = "</script><script>alert(1)</script>"
    name = "<img src=x onerror=alert(1)>"
    maps, facts = made_build(tmp_path / "out", (name,), chain=hostile, warnings=[f"{name}: {hostile}"])
    found = opened(browser, write_build_report(tmp_path / "out", maps, facts))
    page = found.page
    assert found.drawn() > 20
    assert not page.is_visible("#many")
    assert not page.is_visible("#path-controls")
    assert page.text_content("#state-name") == name
    assert page.text_content("#legend") == hostile
    assert page.text_content("#warnings li") == f"{name}: {hostile}"
    page.evaluate("chooseResidue(3)")
    assert str(page.text_content("#chosen")).startswith(f"{hostile}/4 ")
    assert page.locator("img").count() == 0
    assert found.errors == []
    assert len(found.requests) == 1
    page.close()
