"""EMDB, EMPIAR and wwPDB, spoken by a local server in the words of their interfaces."""

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofound.catalog.archives import look_up_emdb, look_up_empiar
from cryofound.catalog.entry import MapState, load_entry
from cryofound.catalog.requesting import Patience
from cryofound.catalog.source_schema import EmdbSource, EmpiarSource, PdbSource
from cryofound.catalog.sources import fetch, fetch_file, found_file, is_changeable, mirror_index
from cryofound.cli import main
from cryofound.errors import SourceError
from cryofound.manifest import file_sha256
from tests.unit.catalog.awkward_server import AwkwardServer, serving
from tests.unit.catalog.made_series import made_series

QUICK = Patience(connect_seconds=1.0, read_seconds=0.3, attempts=2, first_wait=0.01, longest_wait=0.1)
EMDB_ENTRY = {
    "emdb_id": "EMD-40226",
    "admin": {"title": "A transporter"},
    "crossreferences": {
        "citation_list": {"primary_citation": {"citation_type": {
            "author": [{"valueOf_": "First A", "order": 1}, {"valueOf_": "Second B", "order": 2}],
            "title": "A title.", "journal": "Nat Commun", "year": 2025,
            "external_references": [
                {"type_": "PUBMED", "valueOf_": "1"}, {"type_": "DOI", "valueOf_": "doi:10.1000/x"},
            ],
        }}},
        "pdb_list": {"pdb_reference": [{"pdb_id": "8gmg", "relationship": {"in_frame": "FULLOVERLAP"}}]},
    },
    "structure_determination_list": {"structure_determination": [{"image_processing": [{"final_reconstruction": {
        "applied_symmetry": {"point_group": "C2"}, "resolution": {"valueOf_": "3.4", "units": "A"},
    }}]}]},
    "map": {
        "file": "emd_40226.map.gz",
        "contour_list": {"contour": [{"level": 0.1, "primary": False}, {"level": 0.25, "primary": True}]},
    },
    "interpretation": {
        "half_map_list": {"half_map": [{"file": f"emd_40226_half_map_{half}.map.gz"} for half in (1, 2)]},
        "segmentation_list": {"segmentation": [{"file": "emd_40226_msk_1.map"}]},
    },
}  # fmt: skip
EMPIAR_ENTRY = {"EMPIAR-10400": {
    "title": "A channel",
    "citation": [{"authors": [{"author": {"name": "First A"}}], "title": "T", "doi": "10.1000/y"}],
    "cross_references": [{"name": "EMD-20492"}, {"name": "EMD-20493"}],
    "imagesets": [{"directory": "/data/movies", "category": "micrographs - multiframe"}],
}}  # fmt: skip


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[AwkwardServer]:
    caplog.set_level(logging.ERROR, "stamina")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYOFOUND_MIRROR", raising=False)
    folder = made_series(tmp_path / "data", ("only.mrc",))
    pub, volume = "/pub/emdb/structures/EMD-40226", gzip.compress((folder / "only.mrc").read_bytes(), mtime=0)
    with serving({
        "/emdb/entry/EMD-40226": json.dumps(EMDB_ENTRY).encode(),
        "/empiar-api/entry/10400/": json.dumps(EMPIAR_ENTRY).encode(),
        f"{pub}/map/emd_40226.map.gz": volume,
        f"{pub}/other/emd_40226_half_map_1.map.gz": volume,
        "/empiar/10400/data/maps/frame_000.mrc": (folder / "only.mrc").read_bytes(),
        "/pub/pdb/data/structures/divided/mmCIF/gm/8gmg.cif.gz": gzip.compress((folder / "model.cif").read_bytes()),
    }) as each:  # fmt: skip
        for name, path in {"WWPDB": "pub", "EMDB_API": "emdb", "EMPIAR": "empiar", "EMPIAR_API": "empiar-api"}.items():
            monkeypatch.setenv(f"CRYOFOUND_{name}", f"{each.url}/{path}/")
        yield each


def test_emdb_is_understood(server: AwkwardServer) -> None:
    facts = look_up_emdb("EMD-40226", QUICK)
    assert (facts.title, facts.resolution, facts.contour, facts.symmetry) == ("A transporter", 3.4, 0.25, "C2")
    assert facts.citation == "First A et al. 2025, A title, Nat Commun, doi:10.1000/x"
    assert (facts.map_file, facts.pdb) == ("map/emd_40226.map.gz", ("8GMG",))
    assert facts.half_maps == tuple(f"other/emd_40226_half_map_{half}.map.gz" for half in (1, 2))
    assert facts.masks == ("masks/emd_40226_msk_1.map",)


def test_emdb_entries_that_leave_things_out(server: AwkwardServer) -> None:
    server.files["/emdb/entry/EMD-1234"] = b'{"map": {}}'
    facts = look_up_emdb("EMD-1234", QUICK)
    assert (facts.map_file, facts.resolution, facts.contour, facts.pdb) == ("map/emd_1234.map.gz", None, None, ())
    server.files["/emdb/entry/EMD-1234"] = b"{}"
    with pytest.raises(SourceError, match="describes no map; is EMD-1234 released"):
        look_up_emdb("EMD-1234", QUICK)
    with pytest.raises(SourceError, match=r"EMD-9999: answered 404 Not Found; check the id"):
        look_up_emdb("EMD-9999", QUICK)


def test_empiar_is_understood(server: AwkwardServer) -> None:
    facts = look_up_empiar("EMPIAR-10400", QUICK)
    assert facts.citation == "First A, T, doi:10.1000/y"
    assert facts.emdb == ("EMD-20492", "EMD-20493")
    assert facts.directories == (("data/movies", "micrographs - multiframe"),)
    server.files["/empiar-api/entry/10401/"] = b"{}"
    with pytest.raises(SourceError, match="does not describe EMPIAR-10401"):
        look_up_empiar("EMPIAR-10401", QUICK)


def test_files_are_downloaded_once_to_a_place_of_their_own(server: AwkwardServer, tmp_path: Path) -> None:
    cache, emdb = tmp_path / "cache", EmdbSource(kind="emdb", id="EMD-40226")
    assert found_file(emdb, None, cache) is None
    place = fetch_file(emdb, None, cache, patience=QUICK)
    assert place == cache / "emdb/EMD-40226/map/emd_40226.map.gz" == found_file(emdb, None, cache)
    fetch_file(emdb, None, cache, patience=QUICK)
    assert len(server.asked) == 1
    half = fetch_file(emdb, "other/emd_40226_half_map_1.map.gz", cache, patience=QUICK)
    assert half.parent.name == "other"
    empiar = EmpiarSource(kind="empiar", id="EMPIAR-10400")
    assert fetch_file(empiar, "maps/frame_000.mrc", cache, patience=QUICK).stat().st_size > 1024
    assert fetch(PdbSource(kind="pdb", id="8GMG"), cache) == cache / "pdb/8gmg.cif.gz"
    assert not is_changeable(emdb)


@pytest.mark.parametrize(
    ("source", "file", "expected"),
    [
        (EmpiarSource(kind="empiar", id="EMPIAR-10400"), None, "an EMPIAR entry has many files; name one"),
        (EmpiarSource(kind="empiar", id="EMPIAR-10400"), "../../secret", "points out of the archive's entry"),
        (EmdbSource(kind="emdb", id="EMD-40226"), "/etc/passwd", "points out of the archive's entry"),
        (PdbSource(kind="pdb", id="8GMG"), "8gmg.cif", "a PDB source is one file; leave out file: 8gmg.cif"),
        (EmdbSource(kind="emdb", id="EMD-40227"), None, r"EMD-40227/map/emd_40227.map.gz: answered 404 Not Found"),
    ],
)
def test_faults(source: EmdbSource, file: str | None, expected: str, server: AwkwardServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=expected) as raised:
        fetch_file(source, file, tmp_path / "cache", patience=QUICK)
    assert "\n" not in str(raised.value)


def test_a_mirror_stands_for_all_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(tmp_path))
    emdb, empiar = EmdbSource(kind="emdb", id="EMD-3488"), EmpiarSource(kind="empiar", id="EMPIAR-10400")
    with pytest.raises(SourceError, match=r"holds no file for EMD-3488 \(looked for emd_3488.map.gz, also .gz\)"):
        fetch_file(emdb, None, tmp_path / "cache")
    for name in ("deep/emd_3488.map", "frame_000.mrc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert fetch_file(emdb, None, tmp_path / "cache") == tmp_path / "deep/emd_3488.map"
    assert fetch_file(empiar, "maps/frame_000.mrc", tmp_path / "cache") == tmp_path / "frame_000.mrc"
    assert found_file(emdb, None, tmp_path / "cache", mirror_index()) == tmp_path / "deep/emd_3488.map"
    assert is_changeable(emdb)


def test_a_deposited_map_becomes_an_entry_by_its_id_alone(
    server: AwkwardServer, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--reference", "8GMG", "--sequences", "data/model.fasta", "--family", "abc", "--out", "catalog"]
    assert main(["catalog", "add", "EMD-40226", *given, "--home", "home"]) == 0
    assert "1 copies of made are not a multiple of the 2 that C2 asks for" in capsys.readouterr().out
    entry = load_entry(Path("catalog/EMD-40226.yaml"))
    assert (entry.title, entry.symmetry, entry.licence) == ("A transporter", "C2", "CC0-1.0")
    assert (entry.accessions.emdb, entry.accessions.pdb) == (("EMD-40226",), ("8GMG",))
    state = entry.states[0]
    assert isinstance(state, MapState)
    assert (state.resolution, state.resolution_from, state.contour) == (3.4, "stated", 0.25)
    assert state.half_maps is not None
    assert state.mask is not None
    assert state.mask.file == "masks/emd_40226_msk_1.map"
    assert entry.reference.file is None
    assert state.sha256 == file_sha256(Path("home/cache/emdb/EMD-40226/map/emd_40226.map.gz"))
    # The second half map and the mask are not on the server: the rest is fetched all the same.
    assert main(["catalog", "fetch", "--catalog", "catalog", "--home", "home"]) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["here", "here", "here", "failed", "failed"]
    assert "emd_40226_half_map_2.map.gz: answered 404 Not Found" in printed.err
    assert "(and 1 more)" in printed.err


def test_look_up_fills_in_what_was_not_given(server: AwkwardServer) -> None:
    given = ["--maps", "data/only.mrc", "--reference", "data/model.cif", "--family", "f", "--look-up"]
    assert main(["catalog", "add", "EMPIAR-10400", *given, "--title", "mine", "--out", "c", "--home", "home"]) == 0
    entry = load_entry(Path("c/EMPIAR-10400.yaml"))
    assert (entry.title, entry.citation, entry.licence) == ("mine", "First A, T, doi:10.1000/y", "CC0-1.0")
