r"""Sample ensembles of many proteins without maps; what `ray job submit` runs.

    ray job submit --working-dir . -- \
        python jobs/sample.py --model models:/cryofound@production --references LIST --out OUT

The references are a CSV with the columns reference, and where wanted name, fasta and id, or a folder whose structures
and outputs of Boltz-2 are all meant. One task samples one of them, in OUT/<id>; all nodes must see OUT, the references
and the home. A finished one is skipped, one whose worker died is begun again; one that is refused does not keep the
others from being finished: it is told at the end in a line of its own, and the exit code is 1.
"""

import argparse
import csv
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from cryofound.commands.sample import add_sampling_arguments, sample_request
from cryofound.commands.sample_run import Sampled, SampleRequest, require_sense, sample_once
from cryofound.errors import CryoFoundError, RecipeError
from cryofound.home import default_home
from cryofound.reference.boltz import is_boltz
from cryofound.reference.reading import STRUCTURE_SUFFIXES
from cryofound.registry import kept_model, load_model
from jobs.progress import bar
from jobs.steps import add_task_arguments, outcomes, refusal_in, stopped, task_options

COLUMNS = ("reference", "name", "fasta", "id")


@dataclass(frozen=True)
class Listed:
    """A reference of the list: its file or folder, which prediction of it, its sequences, its folder's name."""

    reference: Path
    name: str | None
    fasta: Path | None
    id: str


def listed(path: Path) -> list[Listed]:
    """The references of a CSV, with paths relative to it, or of a folder; raises RecipeError if they make no list."""
    found = _in_folder(path) if path.is_dir() else _in_table(path)
    if not found:
        raise RecipeError(f"{path}: lists no reference; give a CSV of {', '.join(COLUMNS)}, or a folder of references")
    seen: dict[str, Listed] = {}
    for each in found:
        other = seen.setdefault(each.id, each)
        if other is not each:
            raise RecipeError(
                f"{path}: {other.reference} and {each.reference} would both be written to {each.id}; give a CSV with "
                "a column id"
            )
    return found


def sample_all(
    requests: dict[str, SampleRequest], out: Path, home: Path, asked: dict[str, Any]
) -> dict[str, CryoFoundError]:
    """Sample each request in its folder of `out` as a Ray task that is given what it asks; what was refused by name."""
    pending = {
        _sample.options(name=f"sample/{name}", **asked).remote(request, out / name, home): name
        for name, request in requests.items()
    }
    failed = {}
    for done, (name, result) in enumerate(outcomes(pending, asked["max_retries"]), start=1):
        if isinstance(result, CryoFoundError):
            failed[name] = result
            print(f"sample {name} refused: {result}", flush=True)
        else:
            _show(name, result, out / name)
        print(f"sample references {bar(done, len(requests))}", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with a line on stderr for each reference that was refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--references", type=Path, required=True, help="CSV (reference, name, fasta, id) or folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of their folders")
    add_sampling_arguments(parser)
    add_task_arguments(parser)
    given = parser.parse_args(arguments)
    asked = task_options(given)
    try:
        requests = {
            each.id: sample_request(given, each.reference.resolve(), each.name, each.fasta)
            for each in listed(given.references)
        }
        require_sense(next(iter(requests.values())))
        home = (given.home or default_home()).resolve()
        load_model(given.model, home)  # one line if there is none, before anything is begun
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS, which `ray job submit` sets
            signal.signal(signal.SIGTERM, stopped)  # after ray.init, which sets its own
        failed = sample_all(requests, given.out.resolve(), home, asked)
    except (CryoFoundError, RayTaskError) as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        failed = {"": refusal}
    for name, error in sorted(failed.items()):
        print(f"error: {name}: {error}" if name else f"error: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


@ray.remote
def _sample(request: SampleRequest, out: Path, home: Path) -> Sampled | None:
    """None if it was there already."""
    report = partial(print, f"{out.name}:", flush=True)
    return sample_once(partial(kept_model, request.model, home), request, out, report)


def _show(name: str, sampled: Sampled | None, out: Path) -> None:
    if sampled is None:
        print(f"sample {name} out={out} skipped=finished", flush=True)
        return
    told = f"samples={sampled.samples} dropped={sampled.dropped} verdict={sampled.grade}"
    print(f"sample {name} out={out} {told}", flush=True)


def _in_folder(folder: Path) -> list[Listed]:
    """Every structure file and every prediction of Boltz-2 in a folder, in the order of their names."""
    if is_boltz(folder) and (folder / "predictions").is_dir():
        return [Listed(each, None, None, each.name) for each in sorted((folder / "predictions").iterdir())]
    found = []
    for each in sorted(folder.iterdir()):
        if each.is_dir():
            found += _in_folder(each) if is_boltz(each) else []
        elif each.name.endswith(STRUCTURE_SUFFIXES):
            found.append(Listed(each, None, None, each.name.split(".")[0]))
    return found


def _in_table(path: Path) -> list[Listed]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path}: cannot be read as CSV ({error}); give a CSV of {', '.join(COLUMNS)}") from None
    columns = reader.fieldnames or []
    if "reference" not in columns or set(columns) - set(COLUMNS):
        raise RecipeError(
            f"{path}: its columns are {', '.join(columns)}; write {', '.join(COLUMNS)}, or the first alone"
        )
    return [_row(path.parent, row) for row in rows]


def _row(folder: Path, row: dict[str, str]) -> Listed:
    reference, fasta = folder / row["reference"], row.get("fasta") or None
    name = row.get("name") or None
    own = row.get("id") or name or reference.name.split(".")[0].removeprefix("boltz_results_")
    return Listed(reference, name, folder / fasta if fasta else None, own)


if __name__ == "__main__":
    raise SystemExit(main())
