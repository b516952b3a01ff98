"""A full disk is one line, whichever library met it; other errors stay what they are.

The disk is a limit on the size of files, which the system itself sets and which needs no rights.
"""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cryofound.disk import room_for
from cryofound.errors import StoreError

MEBIBYTE = 2**20
ZEROS = {"a": torch.zeros(MEBIBYTE // 4)}


@pytest.fixture
def no_file_above_64_kib() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_file_above_64_kib")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(MEBIBYTE)),
        lambda path: torch.save(ZEROS, path),
        lambda path: save_file(ZEROS, path),
    ],
    ids=["Python", "torch", "safetensors"],
)
def test_no_room_is_told_in_one_line(tmp_path: Path, write: Callable[[Path], object]) -> None:
    with (
        pytest.raises(
            StoreError, match=r"no room for the weights of about 1 MiB: File too large, [\d.e+]+ MiB are free; "
        ),
        room_for("the weights", tmp_path, MEBIBYTE),
    ):
        write(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir() if path.name != "file"] == []


def test_other_errors_pass(tmp_path: Path) -> None:
    for error in (RuntimeError("shapes differ"), FileNotFoundError(2, "x"), KeyError("k")):
        with pytest.raises(type(error)) as caught, room_for("it", tmp_path, 100):
            raise error
        assert caught.value is error
    assert not list(tmp_path.iterdir())
