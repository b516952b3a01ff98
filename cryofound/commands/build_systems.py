"""Systems of the catalog built, and MLflow told of it: what `cryofound build` and jobs/build_models.py share."""

import difflib
import glob
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryofound import tracking
from cryofound.building.models import Outcome, build_models
from cryofound.building.placing import Placing
from cryofound.building.request import entry_identity, make_inputs, read_inputs
from cryofound.catalog.entry import CatalogEntry
from cryofound.catalog.files import DEFAULT_CATALOG, read_entries
from cryofound.catalog.locking import locked
from cryofound.config import BuildConfig, TrackingConfig, digest
from cryofound.disk import make_parent, room_for
from cryofound.errors import CryoFoundError, RecipeError, StoreError
from cryofound.manifest import is_finished, read_manifest

CACHE = "cache"  # below the home, where an ingest keeps its sources too
ARTIFACTS = ("report.html", "scores.json", "warnings.txt", "*.cif")
LARGEST = 64 * 2**20  # bytes of a structure that is copied to MLflow


def chosen_entries(patterns: Sequence[str], systems: Sequence[str]) -> list[CatalogEntry]:
    """The entries with these ids, in whatever case, among the files and folders of the globs; all without ids.

    Raises RecipeError for a glob that matches nothing, an id that two files have, and an id that none has, with those
    that are most like it.
    """
    found: dict[str, tuple[CatalogEntry, Path]] = {}
    broken: list[CryoFoundError] = []
    for pattern in patterns or [str(DEFAULT_CATALOG)]:
        places = sorted(glob.glob(pattern, recursive=True))
        if not places:
            raise RecipeError(f"{pattern}: no catalog entry matches; correct --entries")
        for path, entry in (each for place in places for each in read_entries(Path(place))):
            if isinstance(entry, CryoFoundError):
                broken.append(entry)
                continue
            known = found.setdefault(entry.system_id, (entry, path))[1]
            if known.resolve() != path.resolve():
                raise RecipeError(f"{path}: system_id {entry.system_id} is already that of {known}; rename one")
    if not systems:
        if broken:
            raise broken[0]
        return [entry for entry, _ in found.values()]
    chosen = {}
    for asked in systems:
        like = [asked] if asked in found else [name for name in found if name.lower() == asked.lower()]
        if len(like) != 1:
            near = like or difflib.get_close_matches(asked, found, 3, 0.5) or sorted(found)[:3]
            unread = f"; {len(broken)} files cannot be read, the first: {broken[0]}" if broken else ""
            raise RecipeError(f"{asked}: no such system; there are {', '.join(near)} ({len(found)} in all){unread}")
        chosen[like[0]] = found[like[0]][0]
    return list(chosen.values())


def build_system(
    entry: CatalogEntry,
    out: Path,
    config: BuildConfig,
    placing: Placing,
    home: Path,
    report: Callable[[str], None] = print,
) -> Outcome | None:
    """Build the states of a catalog entry in the folder `out`, its inputs beside it; None if it is finished already.

    Raises a CryoFoundError whose line begins with the system's id: StoreError where `out` was built of something else.
    """
    cache, inputs = home / CACHE, inputs_folder(out)
    try:
        make_parent(out)
        with room_for("its files", out.parent), locked(cache / f"build-{digest(str(out.resolve()))}"):
            identity = entry_identity(entry, cache, placing)
            if is_finished(out):
                _require_same(out, identity, config)
                report(f"system={entry.system_id} out={out} skipped=finished")
                return None
            make_inputs(entry, identity, inputs, cache, placing, report)
            return build_models(read_inputs(inputs, config), out, report)
    except CryoFoundError as error:
        raise type(error)(f"{entry.system_id}: {error}") from error


def inputs_folder(out: Path) -> Path:
    """Where a build keeps what had to be made of its reference and maps."""
    out = out.resolve()
    return out.with_name(out.name + "-inputs")


def raise_first(failed: Mapping[str, CryoFoundError]) -> None:
    """Raise the first failure by name, if there is one, with the names of the others."""
    if failed:
        first, *others = sorted(failed)
        raise type(failed[first])(f"{failed[first]}" + (f" (also refused: {', '.join(others)})" if others else ""))


def record_build(folder: Path, home: Path, name: str) -> tracking.Run:
    """Tell MLflow of a finished build in one run, all from its folder; told again, it changes nothing.

    Raises TrackingError where MLflow cannot be reached.
    """
    told = read_manifest(folder, check=False)
    identity = digest(name, told["reference"]["sha256"], told["maps"], told["recipe"], told["origin"].get("identity"))
    scores = json.loads((folder / "scores.json").read_text())
    scores |= {f"{state}/{what}": fit[what] for state, fit in told["free"].items() for what in ("seen", "free")}
    registration = told["origin"].get("registration")
    tags = {
        "kind": "build",
        "system": name,
        "git_revision": told["revision"],
        "reference": told["origin"].get("source") or told["reference"]["path"],
        "reference_sha256": told["reference"]["sha256"],
        "registration": json.dumps(registration) if registration else "kept",
        **{f"map_sha256/{_plain(state)}": sha256 for state, sha256 in told["maps"].items()},
    }
    run = tracking.open_run(home, TrackingConfig().experiment, f"build-{name}", identity, tags)
    run.log_params({**tracking.recipe_params(told["recipe"]), "states": list(told["maps"])})
    metrics = {_plain(metric): value for metric, value in scores.items() if math.isfinite(value)}
    run.log_once("scores", identity, [(0, metrics)])
    for file in (each for pattern in ARTIFACTS for each in sorted(folder.glob(pattern))):
        if file.suffix != ".cif" or file.stat().st_size <= LARGEST:
            run.log_artifact(file)
    run.end("FINISHED")
    return run


def _require_same(out: Path, identity: str, config: BuildConfig) -> None:
    told = read_manifest(out, check="sizes")
    other = "with another recipe" if told["recipe"] != config.model_dump(mode="json") else None
    other = "from other inputs" if told.get("origin", {}).get("identity") != identity else other
    if other:
        raise StoreError(f"{out}: was built {other}; name another folder with --out, or delete it")


def _plain(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w/. -]", "_", name, flags=re.ASCII)
