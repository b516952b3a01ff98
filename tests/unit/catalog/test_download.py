"""Downloads end whole or in one line, whatever the server does."""

import gzip
import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryofound.catalog.download import download
from cryofound.catalog.requesting import Patience, fetch_json
from cryofound.errors import SourceError
from tests.unit.catalog.awkward_server import AwkwardServer, serving

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(connect_seconds=1.0, read_seconds=0.2, attempts=3, first_wait=0.01, longest_wait=1.5)


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Iterator[AwkwardServer]:
    caplog.set_level(logging.ERROR, "stamina")
    with serving(
        {"/map": CONTENT, "/map.gz": gzip.compress(CONTENT), "/page.gz": b"<html>", "/e": b'{"a": 1}'}
    ) as each:
        yield each


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "faults",
    [
        [], ["truncate"], ["truncate", "truncate", "truncate", "truncate", "truncate"], ["stall"], [503], [500, 502],
        [(429, {"Retry-After": "0"})], ["no length"], ["truncate", "ignore range"], ["truncate", "wrong range"],
        ["truncate", 503, "stall", 503, "truncate"], ["truncate", 416],
    ],
    ids=str,
)  # fmt: skip
def test_faults_that_pass_end_in_the_whole_file(faults: list, server: AwkwardServer, tmp_path: Path) -> None:
    server.faults = list(faults)
    place = download(f"{server.url}/map", tmp_path / "map", sha256=SHA256, patience=QUICK)
    assert place.read_bytes() == CONTENT
    assert left(tmp_path) == ["map"]
    assert not server.faults


def test_a_download_goes_on_where_it_stopped(server: AwkwardServer, tmp_path: Path) -> None:
    server.faults = ["truncate", 503, 503]
    with pytest.raises(SourceError, match=r"run again \(it goes on where it stopped\)"):
        download(f"{server.url}/map", tmp_path / "map", patience=QUICK)
    assert left(tmp_path) == ["map.partial", "map.partial.json"]
    half = (tmp_path / "map.partial").stat().st_size
    assert 0 < half < len(CONTENT)
    told: list[tuple[int, int | None]] = []
    download(f"{server.url}/map", tmp_path / "map", patience=QUICK, progress=lambda *at: told.append(at))
    assert server.asked[-1] == ("/map", f"bytes={half}-")
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert (tmp_path / "map").read_bytes() == CONTENT


def test_a_file_that_changed_between_two_tries_is_never_pieced_together(server: AwkwardServer, tmp_path: Path) -> None:
    server.faults = ["truncate", 503, 503]
    with pytest.raises(SourceError):
        download(f"{server.url}/map", tmp_path / "map", patience=QUICK)
    server.files["/map"], server.etag = CONTENT[::-1], '"two"'
    assert download(f"{server.url}/map", tmp_path / "map", patience=QUICK).read_bytes() == CONTENT[::-1]


def test_a_partial_file_that_is_whole_already_is_taken(server: AwkwardServer, tmp_path: Path) -> None:
    (tmp_path / "map.partial").write_bytes(CONTENT)
    (tmp_path / "map.partial.json").write_text(f'{{"tag": "\\"one\\"", "bytes": {len(CONTENT)}}}')
    assert download(f"{server.url}/map", tmp_path / "map", sha256=SHA256, patience=QUICK).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_longer_partial_file_or_one_of_unknown_origin_is_begun_again(server: AwkwardServer, tmp_path: Path) -> None:
    (tmp_path / "map.partial").write_bytes(CONTENT + b"more")
    (tmp_path / "map.partial.json").write_text('{"tag": null, "bytes": null}')
    assert download(f"{server.url}/map", tmp_path / "map", patience=QUICK).read_bytes() == CONTENT
    (tmp_path / "map.partial").write_bytes(b"who knows")
    assert download(f"{server.url}/map", tmp_path / "map", patience=QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "faults", "expected", "requests"),
    [
        ("/none", [], r"answered 404 Not Found; check the id and the name of the file", 1),
        ("/map", [403], r"answered 403 Forbidden; ask the archive", 1),
        ("/map", [503] * 3, r"cannot be downloaded \(the server answers 503", 3),
        ("/map", [416] * 3, r"cannot be downloaded \(the file on the server has changed\)", 3),
        ("/map", [(429, {"Retry-After": "3600"})], r"429 Too Many Requests, and asks to be left alone for 3600 s", 1),
        ("/page.gz", [], "what the server sends is no gzip file", 1),
    ],
)
def test_faults_that_stay_end_in_one_line(
    path: str, faults: list, expected: str, requests: int, server: AwkwardServer, tmp_path: Path
) -> None:
    server.faults = list(faults)
    with pytest.raises(SourceError, match=expected) as raised:
        download(server.url + path, tmp_path / "file.gz", patience=QUICK)
    assert str(raised.value).startswith(server.url + path)
    assert "\n" not in str(raised.value)
    assert len(server.asked) == requests
    assert left(tmp_path) == []


def test_a_server_that_stops_sending_for_good(server: AwkwardServer, tmp_path: Path) -> None:
    server.files["/map"] = b"ab"
    server.faults = ["stall"] * 20
    with pytest.raises(SourceError, match="the server stopped sending"):
        download(f"{server.url}/map", tmp_path / "map", patience=QUICK)
    assert "map" not in left(tmp_path)


def test_a_wrong_checksum_is_tried_once_more_from_the_start(server: AwkwardServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"sha256 is {SHA256}, {'0' * 64} was expected"):
        download(f"{server.url}/map", tmp_path / "map", sha256="0" * 64, patience=QUICK)
    assert [wanted for _, wanted in server.asked] == [None, None]
    assert left(tmp_path) == []


def test_retry_after_is_kept_to(server: AwkwardServer, tmp_path: Path) -> None:
    server.faults = [(503, {"Retry-After": "1"})]
    start = time.monotonic()
    download(f"{server.url}/map", tmp_path / "map", patience=QUICK)
    assert time.monotonic() - start >= 1.0


def test_gzip_is_kept_as_it_is(server: AwkwardServer, tmp_path: Path) -> None:
    place = download(f"{server.url}/map.gz", tmp_path / "map.gz", patience=QUICK)
    assert gzip.decompress(place.read_bytes()) == CONTENT


def test_no_server_no_room_no_address(tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    with pytest.raises(SourceError, match=r"cannot be downloaded \(Connection refused\)"):
        download(f"{gone.url}/map", tmp_path / "map", patience=QUICK)
    with pytest.raises(SourceError, match="cannot be asked for"):
        download("nowhere", tmp_path / "map", patience=QUICK)
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"file/map: cannot be written \((Not a directory|File exists)\)"):
        download(f"{gone.url}/map", tmp_path / "file/map", patience=QUICK)


def test_json(server: AwkwardServer) -> None:
    server.faults = [503]
    assert fetch_json(f"{server.url}/e", QUICK) == {"a": 1}
    with pytest.raises(SourceError, match="answered 404 Not Found; check the id"):
        fetch_json(f"{server.url}/none", QUICK)
    with pytest.raises(SourceError, match="the answer is no JSON"):
        fetch_json(f"{server.url}/page.gz", QUICK)
