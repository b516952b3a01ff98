"""Sources: packages through the user's own pip, a mirror, a folder."""

import io
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cryofound.catalog.entry import LocalSource, PackageSource, PdbSource
from cryofound.catalog.sources import fetch, is_changeable
from cryofound.errors import SourceError
from cryofound.manifest import file_sha256

WHEEL = "madedata-1.0-py3-none-any.whl"
PYPROJECT = b"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "madesource"
version = "2.0"
[tool.setuptools]
packages = []
"""


def make_wheel(folder: Path, **more: bytes) -> Path:
    path = folder / WHEEL
    meta = "madedata-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("madedata/a.txt", "A")
        wheel.writestr("madedata/deep/b.txt", "B")
        wheel.writestr("madedata/code.py", "raise SystemExit('never run')")
        wheel.writestr(
            f"{meta}/METADATA", "Metadata-Version: 2.1\nName: madedata\nVersion: 1.0\nRequires-Dist: not-there\n"
        )
        wheel.writestr(
            f"{meta}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{meta}/RECORD", "")
        for name, content in more.items():
            wheel.writestr(name, content)
    return path


def make_sdist(folder: Path) -> Path:
    path = folder / "madesource-2.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {
            "PKG-INFO": b"Metadata-Version: 2.1\nName: madesource\nVersion: 2.0\n",
            "pyproject.toml": PYPROJECT,
            "data/a.txt": b"A",
        }.items():
            member = tarfile.TarInfo(f"madesource-2.0/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("madesource-2.0/data/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions, named to pip by its own configuration."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def package(archive: Path, *members: str, distribution: str = "madedata", version: str = "1.0") -> PackageSource:
    return PackageSource(
        kind="package",
        distribution=distribution,
        version=version,
        sha256=file_sha256(archive),
        members=members or ("*",),
    )


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_wheel_is_unpacked_once_without_its_dependencies(index: Path, tmp_path: Path) -> None:
    source = package(make_wheel(index), "*.txt")
    folder = fetch(source, tmp_path / "cache")
    assert tree(folder) == ["madedata/a.txt", "madedata/deep/b.txt", "manifest.json"]
    assert (folder / "madedata/deep/b.txt").read_text() == "B"
    (index / WHEEL).unlink()
    assert fetch(source, tmp_path / "cache") == folder
    other = fetch(source.model_copy(update={"members": ("madedata/a.txt",)}), tmp_path / "cache")
    assert tree(other) == ["madedata/a.txt", "manifest.json"]


def test_a_source_distribution_loses_its_leading_folder_and_links(index: Path, tmp_path: Path) -> None:
    archive = make_sdist(index)
    folder = fetch(package(archive, "data/*", distribution="madesource", version="2.0"), tmp_path / "cache")
    assert tree(folder) == ["data/a.txt", "manifest.json"]


def test_refusals_leave_nothing_that_looks_whole(index: Path, tmp_path: Path) -> None:
    right = package(make_wheel(index))
    cases = (
        (
            right.model_copy(update={"sha256": "0" * 64}),
            f"madedata==1.0: the index serves a file with sha256 {right.sha256}",
        ),
        (right.model_copy(update={"version": "9.9"}), "madedata==9.9: pip cannot download it"),
        (right.model_copy(update={"members": ("*.cif",)}), r"no file matches \*.cif"),
    )
    for source, expected in cases:
        with pytest.raises(SourceError, match=expected) as raised:
            fetch(source, tmp_path / "cache")
        assert "\n" not in str(raised.value)
    assert not list((tmp_path / "cache").rglob("manifest.json"))


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "madedata/../../out.txt", "..\\out.txt"])
def test_an_archive_that_points_outside_is_refused(name: str, index: Path, tmp_path: Path) -> None:
    source = package(make_wheel(index, **{name: b"x"}))
    with pytest.raises(SourceError, match="points out of the archive"):
        fetch(source, tmp_path / "cache" / "inner")
    assert not list(tmp_path.rglob("out.txt"))


def test_processes_may_ask_at_once(index: Path, tmp_path: Path) -> None:
    source = package(make_wheel(index))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        first, second = pool.map(fetch, [source] * 2, [tmp_path / "cache"] * 2)
    assert first == second
    assert (first / "madedata/a.txt").read_text() == "A"


def test_the_mirror_is_searched_in_depth_and_prefers_rerefined_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(tmp_path))
    source = PdbSource(kind="pdb", id="1EXR")
    assert is_changeable(source)
    with pytest.raises(SourceError) as raised:
        fetch(source, tmp_path / "cache")
    assert str(raised.value) == (
        f"{tmp_path}: holds no file for 1EXR (looked for 1exr_final.cif, 1exr.cif, 1exr.pdb, also .gz); "
        "add it, or unset CRYOFOUND_MIRROR to download it"
    )
    for name in ("a/1exr_of_mine.pdb.gz", "z/pdb1exr.ent.gz", "b/1EXR.pdb", "1exr.cif.gz", "deep/er/1exr_final.cif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert fetch(source, tmp_path / "cache") == tmp_path / name
    monkeypatch.setenv("CRYOFOUND_MIRROR", str(tmp_path / "none"))
    with pytest.raises(SourceError, match="no such folder; set CRYOFOUND_MIRROR"):
        fetch(source, tmp_path / "cache")


def test_a_local_folder(tmp_path: Path) -> None:
    assert fetch(LocalSource(kind="local", folder=str(tmp_path)), tmp_path / "cache") == tmp_path
    with pytest.raises(SourceError, match="none: no such folder"):
        fetch(LocalSource(kind="local", folder=str(tmp_path / "none")), tmp_path / "cache")
