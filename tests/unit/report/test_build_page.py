"""The page of a build: complete, self-contained, the same each time, and safe with whatever names its files have."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest

from cryofound.errors import StructureError
from cryofound.manifest import write_manifest
from cryofound.report.build_page import write_build_report
from tests.html_page import Page
from tests.made_builds import FRAMES, made_build

HOSTILE = "</script><script>injected()</script><img/src=x/onerror=injected()>"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("build") / "out"
    scores = {"clashscore": 6.1, "rota_outliers": 1.5, "rama_outliers": 0.51}
    maps, facts = made_build(folder, scores=scores, warnings=["two: no density for residues A/7"], free=(0.95, 0.92))
    return folder, maps, facts, write_build_report(folder, maps, facts)


def test_it_says_what_was_built_from_what_and_warns_first(built):
    *_, path = built
    page = Page(path)
    for told in (
        "2 models from reference.pdb",
        "revision abcdef123456",
        "/data/reference.pdb",
        "1" * 64,
        "reach: 12.0",
    ):
        assert told in page.shown
    warning, viewer = page.shown.index("two: no density for residues A/7"), page.shown.index("Contour level")
    assert warning < viewer
    assert "Clashscore above 6: 6.1 in one, 6.1 in two" in page.shown
    assert "Ramachandran outliers above 0.5 %: 0.51 in one, 0.51 in two" in page.shown


def test_scores_beyond_their_limits_stand_out_and_each_is_explained(built):
    page = Page(built[3])
    missed = [attributes for tag, attributes in page.tags if tag == "td" and attributes.get("class") == "missed"]
    assert len(missed) == 2 * 3  # clashes, Ramachandran and the free fit, not rotamers at their limit
    tips = [attributes["data-tip"] for _, attributes in page.tags if "data-tip" in attributes]
    assert len(tips) == len(re.findall(r'<th scope="row">', built[3].read_text(encoding="utf-8")))
    assert all(tip and len(tip) > 30 for tip in tips)


def test_the_viewer_has_every_state_its_density_and_the_morph(built):
    data = Page(built[3]).data
    assert [state["id"] for state in data["states"]] == ["one", "two"]
    assert all(state["density"] for state in data["drawn"]["states"])
    assert data["drawn"]["path"]["place"] == pytest.approx([k / (FRAMES + 1) for k in range(FRAMES + 2)], abs=1e-4)
    assert data["drawn"]["residues"]["label"][0].startswith("A/1 ")
    assert data["drawn"]["residues"]["label"][-1] == "A/901 ZN"
    assert data["drawn"]["residues"]["kind"] == "p" * 40 + "l"
    assert data["states"][1]["displacement"] == [3.0] * 40 + [None]
    traces = [trace["meta"] for trace in data["figures"]["profiles"]["data"]]
    assert {(each["state"], each["quantity"]) for each in traces} == {
        (state, quantity) for state in (0, 1) for quantity in ("correlation", "b_factor", "displacement")
    }


def test_it_needs_nothing_from_elsewhere_and_may_run_its_own_scripts_only(built):
    page = Page(built[3])
    assert not [tag for tag, attributes in page.tags if {"src", "href"} & set(attributes)]
    policy = next(
        attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    libraries = [text for attributes, text in page.scripts if str(attributes.get("id")).startswith("library-")]
    run = [text.encode() for attributes, text in page.scripts if not attributes]
    run += [gzip.decompress(base64.b64decode(text)) for text in libraries]
    assert len(run) == 7
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None
    sums = {f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in run}
    assert set(allowed[1].split()) == sums


def test_names_from_files_are_text_wherever_they_stand(tmp_path: Path):
    names = ("<b>one", "<img src=x onerror=injected()>")
    maps, facts = made_build(tmp_path / "out", names, chain=HOSTILE, warnings=[f"{HOSTILE}: odd"])
    facts["reference"]["path"] = f"/data/{HOSTILE}"
    facts["recipe"] = {"note": HOSTILE}
    page = Page(write_build_report(tmp_path / "out", maps, facts))
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 8
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert f"{HOSTILE}: odd" in page.shown
    assert [state["id"] for state in page.data["states"]] == list(names)
    assert page.data["drawn"]["chains"] == [HOSTILE]
    assert page.data["figures"]["fsc"]["data"][0]["name"] == "&lt;b&gt;one"  # plotly reads tags itself


def test_it_is_the_same_each_time_from_facts_or_from_the_finished_folder(built, tmp_path: Path):
    folder, maps, facts, path = built
    first = path.read_bytes()
    write_manifest(folder, **facts)
    assert write_build_report(folder, maps).read_bytes() == first


def test_one_state_has_no_morph_and_a_state_without_its_map_is_shown_all_the_same(tmp_path: Path):
    _, facts = made_build(tmp_path / "out", ("alone",))
    page = Page(write_build_report(tmp_path / "out", {}, facts))
    assert "1 model from reference.pdb" in page.shown
    assert "No warnings" in page.shown
    assert page.data["drawn"]["path"] is None
    assert page.data["drawn"]["states"][0]["density"] is None
    assert page.data["figures"]["profiles"]["data"][0]["showlegend"] is False


def test_a_table_of_other_residues_is_refused(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out", ("alone",))
    table = tmp_path / "out" / "residues.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(StructureError, match=r"residues.csv: residues of alone are not those of alone.cif"):
        write_build_report(tmp_path / "out", maps, facts)
    assert not (tmp_path / "out" / "report.html").exists()
