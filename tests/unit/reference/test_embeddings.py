"""Embeddings: `s` is read, and not a byte of `z`."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.reference.embeddings import read_embedding

TOKENS = 256


@pytest.fixture(scope="module")
def content() -> tuple[bytes, np.ndarray]:
    """The bytes of a file such as boltz writes, and the `s` in it."""
    rng = np.random.default_rng(0)
    single = rng.standard_normal((1, TOKENS, 384), dtype=np.float32)
    stream = io.BytesIO()
    np.savez_compressed(stream, s=single, z=rng.standard_normal((1, TOKENS, TOKENS, 32), dtype=np.float32))
    return stream.getvalue(), single[0]


@pytest.fixture
def written(content: tuple[bytes, np.ndarray], tmp_path: Path) -> tuple[Path, np.ndarray]:
    """The file."""
    (tmp_path / "embeddings_x.npz").write_bytes(content[0])
    return tmp_path / "embeddings_x.npz", content[1]


def test_a_destroyed_z_does_not_matter(written: tuple[Path, np.ndarray]) -> None:
    path, single = written
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("z.npy")
    content = bytearray(path.read_bytes())
    start = member.header_offset + 30 + len(member.filename) + 20  # local header, its name and its zip64 field
    content[start : member.header_offset + member.compress_size] = bytes(
        member.header_offset + member.compress_size - start
    )
    path.write_bytes(content)
    np.testing.assert_array_equal(read_embedding(path, TOKENS), single)
    with np.load(path) as members, pytest.raises((zipfile.BadZipFile, ValueError, OSError, zipfile.zlib.error)):
        members["z"]


def test_memory_is_that_of_s(written: tuple[Path, np.ndarray]) -> None:
    path, _ = written
    tracemalloc.start()
    read_embedding(path, TOKENS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < TOKENS**2 * 32 * 4 / 4


def test_another_predictions_file_gives_both_shapes(written: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(StructureError, match=r"s has shape 1 x 256 x 384, 1 x 28 x width was expected"):
        read_embedding(written[0], 28)


def test_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "embeddings_x.npz"
    np.savez(path, s=np.full((1, 3, 4), np.nan))
    with pytest.raises(StructureError, match="s is not finite"):
        read_embedding(path, 3)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_cut_file_gives_one_line(written: tuple[Path, np.ndarray], share: float) -> None:
    path, _ = written
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StructureError, match="cut short or damaged") as error:
        read_embedding(path, TOKENS)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"none\.npz: cannot be read"):
        read_embedding(tmp_path / "none.npz", 3)


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "embeddings_x.npz"
    np.savez(path, s=np.array([{}], dtype=object))
    with pytest.raises(StructureError, match="cut short or damaged"):
        read_embedding(path, 1)
