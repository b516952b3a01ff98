"""What an ingest has to do, known before it begins: entries, their files' checksums, and the name of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofound.catalog.entry import CatalogEntry, anchor_of, load_entries
from cryofound.config import Recipe, ShardsConfig, digest
from cryofound.ensemble.checksums import FileChecksums
from cryofound.ensemble.splits import Subset, state_subset, subsets
from cryofound.ensemble.store import STORE, STORE_SCHEMA, checked_systems
from cryofound.errors import CryoFoundError
from cryofound.manifest import is_finished
from cryofound.maps.density_map import Grid
from data_pipeline.inputs import changeable_files

CACHE, CHECKSUMS = "cache", "checksums.json"


@dataclass(frozen=True)
class SystemPlan:
    """One system: its entry, the entry of its family's anchor, its subset, the checksums of its files by `source:file`.

    `identity` is a digest of all that decides its bytes; `error` the line that says why its files cannot be had.
    """

    entry: CatalogEntry
    anchor: CatalogEntry
    subset: Subset
    files: Mapping[str, str]
    identity: str
    error: CryoFoundError | None = None


@dataclass(frozen=True)
class Plan:
    """All systems of a recipe by id, sorted, the grids they may have, smallest first, and what the store is called."""

    systems: Mapping[str, SystemPlan]
    grids: tuple[Grid, ...]
    shards: ShardsConfig
    identity: str
    store: Path
    cache: Path

    @property
    def states(self) -> int:
        return sum(len(system.entry.states) for system in self.systems.values())

    def samples(self, subset: Subset) -> list[tuple[str, int]]:
        """(system_id, state) of every state of a subset."""
        return [
            (name, row)
            for name, system in self.systems.items()
            for row, state in enumerate(system.entry.states)
            if state_subset(system.subset, state.split) == subset
        ]


def found(plan: Plan) -> Path | None:
    """The finished store of a plan, if there is one; raises StoreError if a file of it is missing or cut short."""
    if not is_finished(plan.store):
        return None
    checked_systems(plan.store)
    print(f"step={STORE} digest={plan.identity} skipped=finished", flush=True)
    return plan.store


def make_plan(recipe: Recipe, home: Path) -> Plan:
    """Read the entries of a recipe and the checksums of their files that may change (a mirror's, a local folder's).

    Raises RecipeError for entries that cannot be read. A system whose files cannot be had has its `error`.
    """
    cache = Path(home) / CACHE
    entries = load_entries(recipe.entries)
    chosen = subsets(entries, recipe.shards)
    found = _checksums(entries, cache)
    systems = {}
    for entry in entries:
        anchor = anchor_of(entry.family, entries)
        files, error = found[entry.system_id]
        of_anchor, anchor_error = found[anchor.system_id]
        parts = (STORE_SCHEMA, recipe.grid, entry, anchor, chosen[entry.system_id], files, of_anchor)
        error = error or anchor_error
        identity = digest(*parts, str(error or ""))
        systems[entry.system_id] = SystemPlan(entry, anchor, chosen[entry.system_id], files, identity, error)
    identity = digest(STORE_SCHEMA, recipe.shards, {name: system.identity for name, system in systems.items()})
    grids = tuple(Grid.centred(size, recipe.grid.voxel_size) for size in recipe.grid.box_sizes)
    return Plan(systems, grids, recipe.shards, identity, Path(home) / f"{STORE}-{identity}", cache)


def _checksums(entries: Sequence[CatalogEntry], cache: Path) -> dict[str, tuple[dict[str, str], CryoFoundError | None]]:
    """By system id: checksums of its files that its text does not pin down, or what keeps them from being read."""
    places: dict[str, dict[str, Path]] = {}
    errors: dict[str, CryoFoundError] = {}
    for entry in entries:
        try:
            places[entry.system_id] = changeable_files(entry, cache)
        except CryoFoundError as error:
            errors[entry.system_id] = type(error)(f"{entry.system_id}: {error}")
    known = FileChecksums(cache / CHECKSUMS).of(path for files in places.values() for path in files.values())
    return {
        entry.system_id: (
            {label: known[path] for label, path in places.get(entry.system_id, {}).items()},
            errors.get(entry.system_id),
        )
        for entry in entries
    }
