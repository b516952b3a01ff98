"""Training shards: tar files in WebDataset's layout, one sample per map, and an index that reads any sample of them.

A sample is `<system_id>__<state_id>` with two members: `.npy` (the density, float32, z y x) and `.json` (what it is).
The order of training is not in the files: `global_batch` gives the samples of a step as a function of numbers alone,
so that any number of ranks reads the same global batches and a resumed run goes on exactly where it stopped.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryofound.errors import StoreError

SEPARATOR = "__"
SAMPLES_PER_SHARD = 256


def shard_key(system_id: str, state_id: str) -> str:
    """Name of a sample; raises StoreError for a dot, where WebDataset would split it."""
    key = f"{system_id}{SEPARATOR}{state_id}"
    if "." in key:
        raise StoreError(f"{key}: a sample's name holds no dot; rename the system or the state")
    return key


def write_shard(path: Path, samples: Iterable[tuple[str, np.ndarray, dict[str, Any]]]) -> None:
    """Write samples (key, density (z, y, x), metadata) as one tar file: the same bytes for the same samples.

    The file appears whole or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, density, meta in samples:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(density, dtype=np.float32), allow_pickle=False)
            _add(tar, f"{key}.npy", buffer.getvalue())
            _add(tar, f"{key}.json", json.dumps(meta, sort_keys=True).encode())
    os.replace(aside, path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time are TarInfo's constants, so that bytes depend on nothing else
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Sample:
    """Where one sample lies: its tar file, and offset and size in bytes of its two members."""

    key: str
    path: Path
    density_at: tuple[int, int]
    meta_at: tuple[int, int]


@dataclass(frozen=True)
class ShardIndex:
    """All samples of a folder of shards, in the order of their names."""

    samples: tuple[Sample, ...]

    @classmethod
    def open(cls, folder: Path) -> "ShardIndex":
        """Index every *.tar of a folder; raises StoreError if there is none, or one is damaged."""
        paths = sorted(Path(folder).glob("*.tar"))
        if not paths:
            raise StoreError(f"{folder}: holds no training shard; ingest the entries again")
        return cls(tuple(sorted((each for path in paths for each in _samples(path)), key=lambda each: each.key)))

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, row: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Density (z, y, x) float32 and metadata of one sample."""
        sample = self.samples[row]
        with sample.path.open("rb") as stream:
            density = np.load(io.BytesIO(_read(stream, sample.density_at)), allow_pickle=False)
            return density, json.loads(_read(stream, sample.meta_at))


def _samples(path: Path) -> list[Sample]:
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
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


def _read(stream: io.BufferedReader, place: tuple[int, int]) -> bytes:
    stream.seek(place[0])
    return stream.read(place[1])


def global_batch(n: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """(batch_size,) int64: the samples of one step of all ranks together, a pure function of its arguments.

    Steps walk through one permutation of the n samples per epoch, without a gap between epochs; rank r of w ranks takes
    [r::w].
    """
    places = step * batch_size + np.arange(batch_size)
    epochs = places // n
    order = {epoch: np.random.default_rng([seed, epoch]).permutation(n) for epoch in np.unique(epochs).tolist()}
    return np.array([order[epoch][place] for epoch, place in zip(epochs.tolist(), (places % n).tolist(), strict=True)])
