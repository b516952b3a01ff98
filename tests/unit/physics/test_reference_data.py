"""Reference data: from a mirror, from a web server that also fails, and back to the tables that the package ships."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from cryofound.cli import main
from cryofound.errors import SourceError
from cryofound.physics.reference_data import ARCHIVE, FILES, GRIDS, LICENCE, UNPACKED, derive, fetch, states

VALINE = "rota8000-val.data"


@pytest.fixture
def molprobity(shared_data: Path) -> Path:
    """The shared folder as a mirror."""
    return shared_data / "molprobity"


@pytest.fixture
def server(molprobity: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a server with the published layout, and what it does wrong: file name to missing, changed or cut."""
    faults: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = molprobity / "top8000" / self.path.lstrip("/")
            fault = faults.get(path.name)
            if fault == "missing" or not path.is_file():
                self.send_error(404)
                return
            body = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write({"changed": body[::-1], "cut": body[: len(body) // 2]}.get(fault or "", body))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", faults
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(molprobity: Path, tmp_path: Path) -> Path:
    """A mirror that holds the archive alone."""
    (tmp_path / "mirror").mkdir()
    shutil.copyfile(molprobity / "chem_data" / ARCHIVE, tmp_path / "mirror" / ARCHIVE)
    return tmp_path / "mirror"


@pytest.mark.shared
def test_a_mirror_gives_all_and_a_second_run_does_nothing(shared_data: Path, tmp_path: Path):
    into = tmp_path / "home"
    sources = fetch(into, shared_data)
    assert sources.keys() == FILES.keys()
    assert all(Path(source).is_relative_to(shared_data) for source in sources.values())
    assert {state for _, state, _, _ in states(into)} == {"whole"}
    assert "CC BY 4.0" in (into / LICENCE).read_text()
    assert (into / UNPACKED / "chem_data" / "rotarama_data" / "rota8000-arg.data").is_file()
    before = {path: path.stat().st_mtime_ns for path in into.rglob("*")}
    assert fetch(into) == sources
    assert {path: path.stat().st_mtime_ns for path in into.rglob("*")} == before
    assert not list(into.rglob("*.partial"))


@pytest.mark.shared
def test_the_shipped_tables_come_out_of_the_fetched_folder(shared_data: Path, tmp_path: Path):
    fetch(tmp_path / "home", shared_data / "molprobity")
    for path in derive(tmp_path / "home", tmp_path / "tables"):
        with files("cryofound.physics").joinpath("tables", path.name).open("rb") as stream:
            shipped = dict(np.load(stream, allow_pickle=False))
        derived = dict(np.load(path, allow_pickle=False))
        assert derived.keys() == shipped.keys()
        assert all(np.array_equal(derived[name], shipped[name]) for name in shipped)


@pytest.mark.shared
def test_the_network_gives_what_the_mirror_lacks(server: tuple[str, dict], archive: Path, tmp_path: Path):
    sources = fetch(tmp_path / "home", archive, server[0])
    assert sources[ARCHIVE] == str(archive / ARCHIVE)
    assert sources[VALINE] == f"{server[0]}/Top8000_rotamer_pct_contour_grids/{VALINE}"
    assert {state for _, state, _, _ in states(tmp_path / "home")} == {"whole"}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", rf"/{VALINE}: cannot be downloaded \(404.*--from"),
        ("changed", rf"/{VALINE}: serves another file than the one with sha256 {FILES[VALINE]}"),
        ("cut", rf"/{VALINE}: cannot be downloaded"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_no_file(
    server: tuple[str, dict], archive: Path, tmp_path: Path, fault: str, message: str
):
    address, faults = server
    faults[VALINE] = fault
    with pytest.raises(SourceError, match=message) as caught:
        fetch(tmp_path / "home", archive, address)
    assert "\n" not in str(caught.value)
    arrived = {path.name for path in (tmp_path / "home").glob("*.data")}
    assert arrived == GRIDS.keys() - {VALINE}
    faults.clear()
    assert fetch(tmp_path / "home", archive, address).keys() == FILES.keys()


@pytest.mark.shared
def test_a_damaged_file_is_seen_and_fetched_again(molprobity: Path, tmp_path: Path):
    fetch(tmp_path, molprobity)
    (tmp_path / VALINE).write_text("cut")
    assert [name for name, state, _, _ in states(tmp_path) if state == "damaged"] == [VALINE]
    fetch(tmp_path, molprobity)
    assert {state for _, state, _, _ in states(tmp_path)} == {"whole"}


@pytest.mark.shared
def test_another_edition_in_the_mirror_is_passed_over(server: tuple[str, dict], archive: Path, tmp_path: Path):
    (archive / VALINE).write_text("another edition")
    assert fetch(tmp_path / "home", archive, server[0])[VALINE].startswith("http://")


@pytest.mark.shared
def test_what_has_no_address_is_said_and_the_rest_kept(server: tuple[str, dict], tmp_path: Path):
    with pytest.raises(SourceError, match=f"{ARCHIVE}: has no public address; give a folder"):
        fetch(tmp_path, None, server[0])
    assert sorted(json.loads((tmp_path / "sources.json").read_text())) == sorted(GRIDS)


@pytest.mark.shared
def test_the_command_fetches_lists_and_derives(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(shared_data / "molprobity"))
    home = str(tmp_path / "home")
    assert main(["reference-data", "fetch", "--into", home]) == 0
    assert main(["reference-data", "list", "--into", home]) == 0
    shown = capsys.readouterr().out
    assert shown.count("whole") == len(FILES)
    assert main(["reference-data", "derive", "--from", home, "--into", str(tmp_path / "tables")]) == 0
    assert main(["reference-data", "fetch", "--from", str(tmp_path / "none"), "--into", home]) == 1
    assert "none: no such folder" in capsys.readouterr().err


def test_nothing_is_there_before_the_first_fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert {state for _, state, _, _ in states(tmp_path / "home")} == {"missing"}
    assert main(["reference-data", "derive", "--from", str(tmp_path), "--into", str(tmp_path / "tables")]) == 1
    assert "reference-data fetch" in capsys.readouterr().err
