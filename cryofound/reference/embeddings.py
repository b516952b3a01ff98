"""Embeddings `s` of a prediction's tokens, read without those of their pairs, `z`, that fill most of the file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from cryofound.errors import StructureError


def read_embedding(path: Path, n_tokens: int) -> np.ndarray:
    """(token, width) float32: the embedding that `boltz predict --write_embeddings` wrote (Boltz-2: width 384).

    The members of an npz file are apart from one another: no byte of `z` is read. Raises StructureError if the file is
    cut short or is another prediction's.
    """
    single = read_member(path, "s")
    if single.ndim != 3 or single.shape[:2] != (1, n_tokens):
        raise StructureError(
            f"{path}: s has shape {' x '.join(map(str, single.shape))}, 1 x {n_tokens} x width was expected; "
            "take it from the same prediction as the model"
        )
    if not np.isfinite(single).all():
        raise StructureError(f"{path}: s is not finite; the prediction failed, run it again")
    return single[0].astype(np.float32, copy=False)


def read_member(path: Path, name: str) -> np.ndarray:
    """One array of an npz file and none of the others; raises StructureError with one line."""
    try:
        # numpy leaves a path's file open when it is damaged.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as members:
            if name not in members.files:
                raise StructureError(f"{path}: holds {', '.join(members.files)} but no {name}; take boltz's own file")
            return members[name]
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error.strerror or error}); copy it again") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise StructureError(
            f"{path}: cut short or damaged ({error}); copy it again, or run boltz predict again with --override"
        ) from None
