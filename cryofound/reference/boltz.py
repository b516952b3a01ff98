"""What `boltz predict` writes (Boltz-1 and Boltz-2), read as a prediction, or one line that says why it is none."""

import re
from pathlib import Path
from typing import Literal

from cryofound.errors import StructureError
from cryofound.manifest import file_sha256
from cryofound.reference.confidence import read_boltz_confidence, read_json
from cryofound.reference.prediction import PredictedModel, Prediction, Program
from cryofound.reference.tokens import Tokens, boltz_tokens
from cryofound.structure.reading import read_complex

MODEL_FILE = re.compile(r"(?P<name>.+)_model_(?P<rank>\d+)\.(cif|pdb)")
# boltz skips a prediction whose folder is there, and one that it has no memory for, and exits with 0 both times.
AGAIN = "run boltz predict again with --override"
SKIPPED = (
    f"boltz skips what it has no memory for and exits with 0; {AGAIN} and fewer --max_parallel_samples or more memory"
)


def is_boltz(folder: Path) -> bool:
    """Whether a folder is, holds, or ought to be something that `boltz predict` wrote."""
    folder = Path(folder)
    return bool(_models(folder)) or _results(folder) is not None


def read_boltz(folder: Path, name: str | None = None, samples: Literal["best", "all"] = "best") -> Prediction:
    """The prediction `name`, or the only one, of a folder: `boltz_results_<stem>`, its parent or `predictions/<id>`.

    `samples` reads the model of the highest confidence_score, or all of them in that order. Raises StructureError with
    one line if the folder is missing or empty, a file is missing or damaged, or boltz did not finish.
    """
    folder = Path(folder)
    results = None if _models(folder) and folder.parent.name != "predictions" else _results(folder)
    inside = folder if _models(folder) else _choose(folder, results, name)
    found = _ranked_files(inside)
    program = _program(results, inside, found)
    order = sorted(found, key=lambda rank: (-_score(found[rank]["confidence"]), rank))
    read = [_read_model(rank, found[rank]) for rank in (order if samples == "all" else order[:1])]
    stem = _stem(inside)
    embeddings = inside / f"embeddings_{stem}.npz"
    return Prediction(
        name=stem,
        program=program,
        folder=inside,
        models=tuple(model for model, _ in read),
        tokens=read[0][1],
        embeddings=embeddings if embeddings.is_file() else None,
        files={path.name: file_sha256(path) for path in sorted(inside.iterdir()) if path.is_file()},
    )


def _read_model(rank: int, files: dict[str, Path]) -> tuple[PredictedModel, Tokens]:
    confidence = read_boltz_confidence(files["confidence"], files["plddt"], files.get("pae"))
    atoms = read_complex(files["model"])
    tokens = boltz_tokens(files["model"], atoms, len(confidence.plddt))
    return PredictedModel(files["model"], rank, atoms, confidence), tokens


def _results(folder: Path) -> Path | None:
    """The folder `boltz_results_<stem>` that a path is, is in or holds."""
    if folder.parent.name == "predictions" and folder.parent.is_dir():
        return folder.parent.parent
    if (folder / "predictions").is_dir():
        return folder
    inside = sorted(path.parent for path in folder.glob("*/predictions") if path.is_dir())
    if len(inside) > 1:
        raise StructureError(
            f"{folder}: holds {len(inside)} outputs of boltz ({', '.join(path.name for path in inside)}); give one"
        )
    return inside[0] if inside else None


def _choose(folder: Path, results: Path | None, name: str | None) -> Path:
    """The folder `predictions/<id>` of the wanted or the only id; a path that ends so names its own."""
    if results is None:
        held = "holds nothing that boltz predict writes" if folder.is_dir() else "no such folder"
        raise StructureError(f"{folder}: {held}; give the folder boltz_results_<stem>")
    name = folder.name if folder.parent.name == "predictions" else name
    predictions = results / "predictions"
    finished = sorted(path.name for path in predictions.iterdir() if path.is_dir())
    known = sorted({*finished, *(record["id"] for record in _records(results))})
    if name is None and len(known) > 1:
        lost = [f"{each} (not finished)" if each not in finished else each for each in known]
        raise StructureError(
            f"{results}: holds {len(known)} predictions: {', '.join(lost)}; name one (--name), or give predictions/<id>"
        )
    if not known:
        raise StructureError(f"{results}: boltz could not read its input, its log says why; mend the input and {AGAIN}")
    chosen = name or known[0]
    if chosen not in known:
        raise StructureError(f"{results}: holds no prediction {chosen}; it has {', '.join(known)}")
    if chosen not in finished:
        raise StructureError(f"{predictions / chosen}: missing, though {results.name} lists it: {SKIPPED}")
    return predictions / chosen


def _records(results: Path) -> list[dict]:
    """The inputs that boltz understood; none where the manifest did not come along."""
    path = results / "processed" / "manifest.json"
    if not path.is_file():
        return []
    manifest = read_json(path)
    records = manifest.get("records") if isinstance(manifest, dict) else None
    if not isinstance(records, list) or not all(isinstance(each, dict) and "id" in each for each in records):
        raise StructureError(f"{path}: lists no records; copy it again, or leave it out")
    return records


def _program(results: Path | None, inside: Path, found: dict[int, dict[str, Path]]) -> Program:
    """Boltz-2 has records of more keys; without them only its files of distance errors tell."""
    for record in _records(results) if results else ():
        if record["id"] == _stem(inside):
            return "boltz-2" if "affinity" in record else "boltz-1"
    return "boltz-2" if all("pde" in files for files in found.values()) else "boltz"


def _models(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if MODEL_FILE.fullmatch(path.name)] if folder.is_dir() else []


def _stem(inside: Path) -> str:
    """The id of a prediction, by its files: the folder may have been renamed."""
    match = MODEL_FILE.fullmatch(_models(inside)[0].name)
    assert match is not None  # _models lists nothing else
    return match["name"]


def _ranked_files(inside: Path) -> dict[int, dict[str, Path]]:
    """The files of every model by rank and kind; raises StructureError if one is missing."""
    paths = {int(path.stem.rsplit("_", 1)[1]): path for path in _models(inside)}
    if not paths:
        raise StructureError(f"{inside}: holds no model: {SKIPPED}")
    stem = _stem(inside)
    gaps = sorted(set(range(max(paths) + 1)) - set(paths))
    if gaps:
        raise StructureError(
            f"{inside}: {stem}_model_{gaps[0]} is missing of models 0 to {max(paths)}; copy it, or {AGAIN}"
        )
    names = {"confidence": "confidence_{}_model_{}.json"}
    names |= {kind: kind + "_{}_model_{}.npz" for kind in ("plddt", "pae", "pde")}
    written = {
        kind for rank in paths for kind, name in names.items() if (inside / name.format(stem, rank)).is_file()
    } | {"confidence", "plddt"}
    found: dict[int, dict[str, Path]] = {}
    for rank in sorted(paths):
        found[rank] = {"model": paths[rank]}
        for kind in names:
            path = inside / names[kind].format(stem, rank)
            if kind in written and not path.is_file():
                raise StructureError(
                    f"{inside}: {path.name} is missing; boltz was stopped, or it was not copied: {AGAIN}"
                )
            if kind in written:
                found[rank][kind] = path
    return found


def _score(path: Path) -> float:
    told = read_json(path)
    score = told.get("confidence_score") if isinstance(told, dict) else None
    if not isinstance(score, float):
        raise StructureError(f"{path}: says no confidence_score; copy it again, or {AGAIN}")
    return score
