"""Training shards: tar files in WebDataset's layout, one sample per map, and an index that reads any sample of them.

A sample is `<system_id>__<state_id>` with two members: `.npy` (the density, float32, z y x) and `.json` (what it is).
Beside each tar file lies a `.json` that says where its samples are, so that a folder in an object store is opened with
a few requests. The order of training is not in the files: `global_batch` gives the samples of a step as a function of
numbers alone, so that any number of ranks reads the same global batches and a resumed run goes on exactly where it
stopped.
"""

import io
import json
import os
import tarfile
import tempfile
import uuid
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from cryofound.errors import StoreError
from cryofound.manifest import PARTIAL

SEPARATOR = "__"
INDEX_SUFFIX = ".json"


def shard_key(system_id: str, state_id: str) -> str:
    """Name of a sample; raises StoreError for a dot, where WebDataset would split it."""
    key = f"{system_id}{SEPARATOR}{state_id}"
    if "." in key:
        raise StoreError(f"{key}: a sample's name holds no dot; rename the system or the state")
    return key


def write_shard(path: Path | str, samples: Iterable[tuple[str, np.ndarray, dict[str, Any]]]) -> None:
    """Write samples (key, density (z, y, x), metadata) as one tar file and its index, always the same bytes.

    `path` is a local path or a URL of fsspec. The tar file appears whole or not at all, and after its index.
    """
    fs, place = fsspec.url_to_fs(str(path))
    local = isinstance(fs, LocalFileSystem)
    fs.makedirs(fs._parent(place), exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cryofound") as folder:
        # Beside its place where it can be renamed, else where it can be sent from.
        aside = Path(place if local else f"{folder}/shard").with_suffix(f".{uuid.uuid4().hex}{PARTIAL}")
        index = json.dumps(_write_tar(aside, samples), sort_keys=True).encode()
        if local:
            named = aside.with_suffix(INDEX_SUFFIX)
            named.write_bytes(index)
            os.replace(named, index_place(place))
            os.replace(aside, place)
        else:
            fs.pipe_file(index_place(place), index)
            fs.put_file(str(aside), place)


def index_place(path: str) -> str:
    """Where the index of a tar file lies."""
    return path.removesuffix(".tar") + INDEX_SUFFIX


def _write_tar(path: Path, samples: Iterable[tuple[str, np.ndarray, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Write the tar file; what its index says of each sample."""
    index = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, density, meta in samples:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(density, dtype=np.float32), allow_pickle=False)
            content = buffer.getvalue()
            density_at = _add(tar, f"{key}.npy", content)
            meta_at = _add(tar, f"{key}.json", json.dumps(meta, sort_keys=True).encode())
            index.append({"key": key, "density_at": density_at, "meta_at": meta_at, "crc32": zlib.crc32(content)})
    return index


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    member = tarfile.TarInfo(name)  # owner, mode and time are TarInfo's constants, so that bytes depend on nothing else
    member.size = len(content)
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(content))
    return start, len(content)


@dataclass(frozen=True, slots=True)
class Sample:
    """Where one sample lies: its tar file, offset and size in bytes of its two members, and the density's CRC-32."""

    key: str
    path: str
    density_at: tuple[int, int]
    meta_at: tuple[int, int]
    crc32: int | None = None


@dataclass(frozen=True)
class ShardIndex:
    """All samples of a folder of shards, in the order of their names, and the file system that holds them."""

    samples: tuple[Sample, ...]
    fs: fsspec.AbstractFileSystem

    @classmethod
    def open(cls, folder: Path | str) -> "ShardIndex":
        """Index every *.tar of a folder or URL of fsspec; raises StoreError if there is none, or one is damaged."""
        fs, place = fsspec.url_to_fs(str(folder))
        paths = sorted(fs.glob(f"{place.rstrip('/')}/*.tar"))
        if not paths:
            raise StoreError(f"{folder}: holds no training shard; ingest the entries again")
        samples = [each for path in paths for each in _samples(fs, path)]
        return cls(tuple(sorted(samples, key=lambda each: each.key)), fs)

    def __len__(self) -> int:
        return len(self.samples)

    def of_systems(self, system_ids: Collection[str]) -> "ShardIndex":
        """The samples of some systems alone; raises StoreError if there is none."""
        kept = tuple(each for each in self.samples if each.key.split(SEPARATOR)[0] in system_ids)
        if not kept:
            raise StoreError(
                f"no training map of {', '.join(sorted(system_ids))}: all are set aside; correct the entry"
            )
        return replace(self, samples=kept)

    def sample(self, row: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Density (z, y, x) float32 and metadata of one sample; raises StoreError if it is damaged."""
        sample = self.samples[row]
        start = min(sample.density_at[0], sample.meta_at[0])
        end = max(sum(sample.density_at), sum(sample.meta_at))
        content = memoryview(_bytes(self.fs, sample.path, start, end))
        density, meta = (
            content[first - start : first - start + size] for first, size in (sample.density_at, sample.meta_at)
        )
        if len(content) < end - start or (sample.crc32 is not None and zlib.crc32(density) != sample.crc32):
            raise StoreError(
                f"{sample.path}: sample {sample.key} is damaged; mend it with `cryofound store check --repair`"
            )
        return np.load(io.BytesIO(density), allow_pickle=False), json.loads(bytes(meta))


def _bytes(fs: fsspec.AbstractFileSystem, path: str, start: int | None = None, end: int | None = None) -> bytes:
    content = fs.cat_file(path, start, end)
    assert isinstance(content, bytes)
    return content


def _samples(fs: fsspec.AbstractFileSystem, path: str) -> list[Sample]:
    """By the index of a tar file where it has one, else by its headers."""
    try:
        listed = json.loads(_bytes(fs, index_place(path)))
    except FileNotFoundError:
        return _scanned(fs, path)
    except json.JSONDecodeError as error:
        raise StoreError(f"{index_place(path)}: damaged ({error}); delete the store and run again") from None
    return [
        Sample(each["key"], path, tuple(each["density_at"]), tuple(each["meta_at"]), each["crc32"]) for each in listed
    ]


def _scanned(fs: fsspec.AbstractFileSystem, path: str) -> list[Sample]:
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with fs.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]  # fsspec's file is one
            for member in tar:
                key, _, kind = member.name.partition(".")
                found.setdefault(key, {})[kind] = member.offset_data, member.size
    except tarfile.TarError as error:
        raise StoreError(f"{path}: damaged ({error}); delete the store and run again") from None
    for key, members in found.items():
        if set(members) != {"npy", "json"}:
            raise StoreError(
                f"{path}: sample {key} has {sorted(members)}, not json and npy; delete the store and run again"
            )
    return [Sample(key, path, members["npy"], members["json"]) for key, members in found.items()]


def global_batch(n: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """(batch_size,) int64: the samples of one step of all ranks together, a pure function of its arguments.

    Steps walk through one permutation of the n samples per epoch, without a gap between epochs; rank r of w ranks takes
    [r::w].
    """
    places = step * batch_size + np.arange(batch_size)
    epochs = places // n
    order = {epoch: np.random.default_rng([seed, epoch]).permutation(n) for epoch in np.unique(epochs).tolist()}
    return np.array([order[epoch][place] for epoch, place in zip(epochs.tolist(), (places % n).tolist(), strict=True)])
