"""Map series as the programs write them: which files are the states, in what order, and how populated they are."""

import glob
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np

from cryofound.errors import MapError

Program = Literal["cryosparc-3dva", "cryodrgn", "relion", "emdb", "other"]
MAP_NAMES = re.compile(r"\.(mrc|map|ccp4)(\.gz|\.bz2)?$", re.IGNORECASE)
LIST_NAMES = (".txt", ".lst", ".csv", ".tsv")
CRYOSPARC = re.compile(r"(?:.*_)?(J\d+)_(?:component|series)_(\d+)_frame_(\d+)\.mrc$")
CRYODRGN = re.compile(r"vol_(\d+)\.mrc$")
RELION = re.compile(r"(?!.*_half[12]_)((.*?)(?:_it(\d+))?)_class(\d+)\.mrc$")
EMDB = re.compile(r"emd_(\d{4,5})\.map(?:\.gz)?$", re.IGNORECASE)
Found = Sequence[tuple[Path, re.Match[str]]]
PICKLE_TO_NPY = 'python -c \'import pickle, numpy; numpy.save("labels.npy", pickle.load(open("labels.pkl", "rb")))\''


@dataclass(frozen=True)
class SeriesState:
    """One map: `population` is its weight among the states and `resolution` is in angstrom, both None if not known."""

    state_id: str
    path: Path
    population: float | None = None
    resolution: float | None = None


@dataclass(frozen=True)
class Series:
    """The maps of one series in their order; `notes` are what its user should know, one sentence each."""

    program: Program
    states: tuple[SeriesState, ...]
    job: str | None = None
    component: int | None = None
    notes: tuple[str, ...] = ()


def find_series(place: str | Path) -> Series:
    """The series that a folder, a shell pattern of maps, a map or a list of maps holds.

    Known by their names: cryoSPARC 3DVA (J42_component_004_frame_000.mrc, ordered by frame), cryoDRGN (vol_000.mrc,
    populations from labels.npy or labels.txt beside them), RELION (run_it025_class001.mrc, the last iteration,
    populations and resolutions from its _model.star), EMDB (emd_40226.map.gz). A text file lists paths, one a line,
    with population and resolution as further columns. Other maps come in the order of the numbers in their names.
    Raises MapError with one line if there is no map, or if maps of two series are mixed.
    """
    path = Path(place)
    if path.is_file() and path.suffix.lower() in LIST_NAMES:
        return read_list(path)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.is_file() and MAP_NAMES.search(each.name)]
        missing = f"{path}: holds no map (.mrc, .map, .ccp4, also .gz); give the folder that the program wrote maps to"
    else:
        found = [Path(each) for each in glob.glob(str(place), recursive=True) if MAP_NAMES.search(each)]
        missing = f"{place}: no map matches; give a folder, a pattern in quotes, or a text file of paths"
    if not found:
        raise MapError(missing)
    for pattern, read in READERS:
        known = [(each, match) for each in sorted(found) if (match := pattern.fullmatch(each.name))]
        # A folder may hold masks and averages beside the series; a pattern means every file that it matches.
        if known and len(known) < len(found) and not path.is_dir():
            other = next(each for each in sorted(found) if not pattern.fullmatch(each.name))
            raise MapError(f"{place}: {other.name} is not of the series of {known[0][0].name}; narrow the pattern")
        if known:
            return read(str(place), known)
    return _plain(found)


def read_list(path: Path) -> Series:
    """The series that a text file lists: path, and after it population and resolution (angstrom), if they are known.

    Columns are parted by commas, tabs or blanks; a first line that begins with `path` names them; # begins a comment;
    paths are relative to the file's folder.
    """
    rows = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    rows = [re.split(r"\s*,\s*|\s+", row) for row in rows if row]
    columns = ["path", "population", "resolution"]
    if rows and rows[0][0].lower() == "path":
        columns = [name.lower() for name in rows.pop(0)]
    unknown = sorted(set(columns) - {"path", "population", "resolution"})
    if unknown or not rows:
        problem = f"column {unknown[0]} is unknown" if unknown else "names no map"
        raise MapError(f"{path}: {problem}; each line is path, population, resolution")
    states = []
    for row in rows:
        cells = dict(zip(columns, row, strict=False))
        if len(row) > len(columns):
            raise MapError(f"{path}: '{' '.join(row)}' has {len(row)} columns, {len(columns)} are known; quote nothing")
        place = path.parent / cells["path"]
        numbers = {name: _number(cells.get(name), path) for name in ("population", "resolution")}
        states.append(SeriesState(_state_id(place), place, **numbers))
    return Series("other", _distinct(states))


def _cryosparc(place: str, found: Found) -> Series:
    kinds = sorted({(match[1], int(match[2])) for _, match in found})
    if len(kinds) > 1:
        listed = ", ".join(f"{job} component {component}" for job, component in kinds[:6])
        raise MapError(
            f"{place}: holds {listed}; name one with a pattern, as '{kinds[0][0]}_component_{kinds[0][1]:03d}_*'"
        )
    states = [SeriesState(f"frame_{int(match[3]):03d}", path) for path, match in found]
    job, component = kinds[0]
    return Series("cryosparc-3dva", _in_order(states), job=job, component=component)


def _cryodrgn(place: str, found: Found) -> Series:
    folder = found[0][0].parent
    indices = [int(match[1]) for _, match in found]
    states = [SeriesState(f"vol_{int(match[1]):03d}", path) for path, match in found]
    counts, notes = _label_counts(folder, max(indices))
    if counts is not None:
        empty = [index for index in indices if counts[index] == 0]
        if empty:
            notes = (*notes, f"no particle has the labels {', '.join(map(str, empty))}; those volumes are left out")
        total = sum(counts[index] for index in indices)
        states = [
            replace(state, population=round(float(counts[index] / total), 6))
            for state, index in zip(states, indices, strict=True)
            if counts[index]
        ]
    axis = re.fullmatch(r"pc(\d+)", folder.name)
    return Series("cryodrgn", _in_order(states), component=int(axis[1]) if axis else None, notes=notes)


def _label_counts(folder: Path, highest: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Particles per label, and notes; None where labels are not given in a form that is safe to read."""
    for name in ("labels.npy", "labels.txt", "labels.csv"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            labels = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",")
        except ValueError as error:
            raise MapError(
                f"{path}: not a list of cluster numbers ({' '.join(str(error).split())}); remove it"
            ) from None
        labels = np.asarray(labels).ravel()
        if not len(labels) or (labels != labels.astype(int)).any() or labels.min() < 0:
            raise MapError(f"{path}: not a list of cluster numbers; remove it, or write one number for each particle")
        return np.bincount(labels.astype(int), minlength=highest + 1), ()
    if (folder / "labels.pkl").is_file():
        note = "labels.pkl is a pickle, which may run any program and is not read; for populations convert it in its "
        return None, (note + f"folder: {PICKLE_TO_NPY}",)
    return None, ()


def _relion(place: str, found: Found) -> Series:
    last = max(_iteration(match) for _, match in found)
    kept = [(path, match) for path, match in found if _iteration(match) == last]
    runs = sorted({match[1] for _, match in kept})
    if len(runs) > 1:
        raise MapError(f"{place}: holds the runs {', '.join(runs)}; name one with a pattern, as '{runs[0]}_class*.mrc'")
    star = kept[0][0].with_name(f"{runs[0]}_model.star")
    classes = _star_classes(star) if star.is_file() else {}
    notes = () if classes else (f"{star.name} is not there: populations are not known",)
    states, empty = [], []
    for path, match in kept:
        population, resolution = classes.get(path.name, (None, None))
        if population == 0:
            empty.append(path.name)
        else:
            states.append(SeriesState(f"class_{int(match[4]):03d}", path, population, resolution))
    if empty:
        notes = (*notes, f"no particle is in {', '.join(empty)}: left out")
    return Series("relion", _in_order(states), job=runs[0], notes=notes)


def _iteration(match: re.Match[str]) -> float:
    """Files without an iteration are the final ones."""
    return math.inf if match[3] is None else int(match[3])


def _star_classes(star: Path) -> dict[str, tuple[float | None, float | None]]:
    """Population and resolution (angstrom) by file name, from the classes of a RELION model file."""
    try:
        block = gemmi.cif.read(str(star)).find_block("model_classes")
    except (RuntimeError, ValueError) as error:
        raise MapError(f"{star}: not a readable STAR file: {' '.join(str(error).split())}") from None
    table = block.find("_rln", ["ReferenceImage", "ClassDistribution", "?EstimatedResolution"]) if block else ()
    return {
        Path(gemmi.cif.as_string(row[0])).name: (
            float(row[1]),
            _resolution(row[2]) if row.has(2) else None,
        )
        for row in table
    }


def _emdb(place: str, found: Found) -> Series:
    return Series("emdb", _distinct([SeriesState(f"emd_{match[1]}", path) for path, match in found]))


def _plain(found: Sequence[Path]) -> Series:
    def natural(path: Path) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]

    return Series("other", _distinct([SeriesState(_state_id(path), path) for path in sorted(found, key=natural)]))


READERS: Sequence[tuple[re.Pattern[str], Callable[[str, Found], Series]]] = (
    (CRYOSPARC, _cryosparc),
    (CRYODRGN, _cryodrgn),
    (RELION, _relion),
    (EMDB, _emdb),
)


def _in_order(states: Sequence[SeriesState]) -> tuple[SeriesState, ...]:
    """By the number that the name ends with."""
    return _distinct(sorted(states, key=lambda state: int(state.state_id.rpartition("_")[2])))


def _distinct(states: Sequence[SeriesState]) -> tuple[SeriesState, ...]:
    """The states, if no two have one name."""
    seen: dict[str, Path] = {}
    for state in states:
        if state.state_id in seen:
            raise MapError(f"{state.path} and {seen[state.state_id]} would both be {state.state_id}; give one of them")
        seen[state.state_id] = state.path
    return tuple(states)


def _state_id(path: Path) -> str:
    """The file's name without its ending, as far as an entry allows it."""
    return re.sub(r"[-_]*[^A-Za-z0-9_-]+|[-_]{2,}", "_", MAP_NAMES.sub("", path.name)).strip("-_") or "map"


def _number(text: str | None, path: Path) -> float | None:
    if text in (None, "", "-", "?"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise MapError(f"{path}: '{text}' is no positive number; each line is path, population, resolution")
    return value


def _resolution(text: str) -> float | None:
    """RELION writes inf and 999 where it has no resolution."""
    value = float(text)
    return value if 0 < value < 999 else None
