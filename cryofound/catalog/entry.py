"""A catalog entry: one YAML file that says what a system is, where its files come from and what its states are."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from cryofound.catalog.source_schema import (
    EmdbId,
    EmdbSource,
    EmpiarId,
    EmpiarSource,
    LocalSource,
    PackageSource,
    PdbId,
    PdbSource,
    Source,
)
from cryofound.catalog.state_schema import (
    MapState,
    Name,
    NormalModeState,
    Reference,
    SimulatedState,
    SourceFile,
    StateEntry,
    StructureChoice,
    StructureState,
    TrajectoryState,
)
from cryofound.config import Section, load_yaml
from cryofound.errors import RecipeError
from cryofound.maps.preprocessing import PreprocessingStep

# The whole schema is to be had from here.
__all__ = [
    "Accessions", "CatalogEntry", "ChainGroup", "EmdbSource", "EmpiarSource", "LocalSource", "MapState",
    "NormalModeState", "PackageSource", "PdbSource", "Reference", "SeriesOrigin", "Simulation", "Source", "SourceFile",
    "StateEntry", "StructureChoice", "StructureState", "SystemFacts", "TrajectoryState", "anchor_of",
    "load_entries", "load_entry",
]  # fmt: skip

SCHEMA_VERSION = 2
SYMMETRY = re.compile(r"C[1-9][0-9]*|D[1-9][0-9]*|T|O|I")


class Accessions(Section):
    """Where the data are deposited."""

    empiar: tuple[EmpiarId, ...] = Field(default=(), description="raw images")
    emdb: tuple[EmdbId, ...] = Field(default=(), description="maps")
    pdb: tuple[PdbId, ...] = Field(default=(), description="models")


class ChainGroup(Section):
    """The copies of one protein in the complex."""

    names: tuple[str, ...] = Field(min_length=1, description="author chain names in the reference, one for each copy")
    description: str | None = Field(default=None, description="what protein it is")
    sequence: str | None = Field(default=None, description="one-letter sequence that each of these chains must match")
    residues: tuple[int | None, int | None] | None = Field(
        default=None,
        description="author numbers of the first and last residue to keep, null for an open end; all if null",
    )

    @field_validator("sequence")
    @classmethod
    def _without_spaces(cls, value: str | None) -> str | None:
        return _letters(value)


class SeriesOrigin(Section):
    """What made the maps of the states."""

    program: Literal["cryosparc-3dva", "cryodrgn", "relion", "emdb", "other"] = Field(description="program or archive")
    version: str | None = Field(default=None, description="version of the program")
    job: str | None = Field(default=None, description="job or run that wrote the maps, as J42 or run_it025")
    component: int | None = Field(
        default=None, ge=0, description="number of the variability component, as in the files' names"
    )


class Simulation(Section):
    """How states given by atoms become maps."""

    resolution: float = Field(gt=0, description="angstrom; Gaussians of sigma = resolution / (sqrt(2) pi)")
    noise: float = Field(
        default=0.0,
        ge=0,
        description="sd of added white noise, as a fraction of the noise-free map's sd within 3 A of an atom",
    )
    seed: int = Field(default=0, description="of the noise, together with the names of system and state")


class SystemFacts(Section):
    """What is known of a system before any of its files is read."""

    schema_version: Literal[2] = Field(2, description="version of this schema")
    system_id: Name = Field(description="unique in a catalog")
    family: Name = Field(description="systems of one family share a canonical frame and lend each other motions")
    split: Literal["train", "held_out"] = Field(description="held_out: training sees nothing of it")
    anchor: bool = Field(False, description="whether the family's canonical frame is this system's")
    title: str | None = Field(None, description="what it is, in words")
    accessions: Accessions = Field(Accessions(), description="where the data are deposited")
    citation: str | None = Field(None, description="who measured it, with DOI; null where it is still to be filled in")
    licence: str | None = Field(None, description="of the data, as CC0-1.0; null where it is still to be filled in")
    symmetry: str = Field("C1", description="point group imposed on the maps: C1, C4, D2, T, O, I")
    copies: Literal["tied", "free"] = Field(
        "tied", description="tied: copies of a chain move alike, as the symmetry says; free: each moves on its own"
    )
    contour: float | None = Field(None, description="contour level of all maps that state none, in their own units")

    @field_validator("schema_version", mode="before")
    @classmethod
    def _known_version(cls, value: object) -> object:
        if value != SCHEMA_VERSION:
            raise ValueError(
                f"is {value}, this program reads {SCHEMA_VERSION}; "
                + (
                    "write 2 in its place, nothing else has changed for such a file"
                    if value == 1
                    else "update CryoFound, or write the entry again with `cryofound catalog add`"
                )
            )
        return value

    @field_validator("symmetry")
    @classmethod
    def _known_symmetry(cls, value: str) -> str:
        if not SYMMETRY.fullmatch(value):
            raise ValueError(f"symmetry {value} is unknown; give C1, C2, ..., D2, ..., T, O or I")
        return value


class CatalogEntry(SystemFacts):
    """One system of the catalog."""

    sources: dict[str, Source] = Field(description="where files come from, by names that the rest of the entry uses")
    reference: Reference
    sequence: str | None = Field(None, description="one-letter sequence of a reference of one chain; else use chains")
    chains: tuple[ChainGroup, ...] = Field((), description="sequences and stoichiometry of a complex")
    series: SeriesOrigin | None = Field(None, description="what made the maps of the states")
    mask: SourceFile | None = Field(None, description="mask of all maps that name none")
    preprocessing: tuple[PreprocessingStep, ...] = Field(
        (), description="what is done to each map before it is brought to the canonical grid, in order"
    )
    states: tuple[StateEntry, ...] = Field(min_length=1, description="the maps, or the atoms that become maps")
    simulation: Simulation = Field(
        Simulation(resolution=8.0), description="how states given by atoms become maps; needed where there are such"
    )

    @field_validator("sequence")
    @classmethod
    def _without_spaces(cls, value: str | None) -> str | None:
        return _letters(value)

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogEntry":
        twice = _repeated(state.state_id for state in self.states)
        if twice:
            raise ValueError(f"state_id {', '.join(twice)} is used more than once")
        twice = _repeated(name for group in self.chains for name in group.names)
        if twice:
            raise ValueError(f"chain {', '.join(twice)} is in more than one group of chains")
        unknown = sorted({file.source for file in self.files()} - set(self.sources))
        if unknown:
            raise ValueError(f"source {', '.join(unknown)} is not among sources ({', '.join(self.sources)})")
        if self.anchor and self.split != "train":
            raise ValueError("the anchor of a family must be a train system")
        if self.sequence is not None and self.chains:
            raise ValueError("sequence and chains are both given; keep chains")
        if "simulation" not in self.model_fields_set and not all(isinstance(state, MapState) for state in self.states):
            raise ValueError("states given by atoms need simulation: {resolution: ...}")
        return self

    def files(self) -> Iterator[SourceFile]:
        """Every file that the entry names, in its order; one may come twice."""
        yield _named(self.reference, self.reference.sha256)
        if self.mask:
            yield self.mask
        for state in self.states:
            match state:
                case MapState():
                    yield _named(state, state.sha256)
                    yield from state.half_maps or ()
                    if state.mask:
                        yield state.mask
                    if state.fitted_model:
                        yield _named(state.fitted_model)
                case TrajectoryState():
                    yield _named(state)
                    yield SourceFile(source=state.source, file=state.topology, sha256=None)
                case StructureState():
                    yield _named(state)
                case NormalModeState():
                    pass

    def simulation_of(self, state: SimulatedState) -> Simulation:
        """How a state given by atoms becomes a map: what it says itself, else the entry's simulation."""
        own = {"resolution": state.resolution, "noise": state.noise}
        return self.simulation.model_copy(update={name: value for name, value in own.items() if value is not None})

    def stated_sequence(self, chain: str) -> str | None:
        """The one-letter sequence that a chain of the reference must match, None if the entry states none."""
        return next((group.sequence for group in self.chains if chain in group.names), self.sequence)


def _named(place: StructureChoice | MapState | TrajectoryState, sha256: str | None = None) -> SourceFile:
    return SourceFile(source=place.source, file=place.file, sha256=sha256)


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def _letters(value: str | None) -> str | None:
    return None if value is None else re.sub(r"\s", "", value).upper()


def load_entry(path: Path) -> CatalogEntry:
    """Read and check one entry; raises RecipeError with one line. Local folders become absolute."""
    entry = load_yaml(Path(path), CatalogEntry)
    assert isinstance(entry, CatalogEntry)
    here = Path(path).resolve().parent
    sources = {
        name: source.model_copy(update={"folder": str(here / source.folder)})
        if isinstance(source, LocalSource)
        else source
        for name, source in entry.sources.items()
    }
    return entry.model_copy(update={"sources": sources})


def load_entries(patterns: Iterable[str]) -> list[CatalogEntry]:
    """Entries of all files that match the globs (relative to the working directory), sorted by system_id.

    Raises RecipeError if a pattern matches nothing, a system occurs twice, or a family has no or two anchors to offer.
    """
    found: dict[str, tuple[CatalogEntry, str]] = {}
    for pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            raise RecipeError(f"{pattern}: no catalog entry matches; correct the recipe's entries")
        for path in paths:
            entry = load_entry(Path(path))
            known = found.get(entry.system_id)
            if known and Path(known[1]).resolve() != Path(path).resolve():
                raise RecipeError(
                    f"{path}: system_id {entry.system_id} is already that of {known[1]}; rename one of them"
                )
            found[entry.system_id] = entry, path
    entries = [found[name][0] for name in sorted(found)]
    for family in sorted({entry.family for entry in entries}):
        anchor_of(family, entries)
    return entries


def anchor_of(family: str, entries: Sequence[CatalogEntry]) -> CatalogEntry:
    """The entry whose frame is the family's: the one marked anchor, else the first train system by id."""
    members = sorted((entry for entry in entries if entry.family == family), key=lambda entry: entry.system_id)
    marked = [entry for entry in members if entry.anchor]
    if len(marked) > 1:
        raise RecipeError(
            f"family {family}: {' and '.join(entry.system_id for entry in marked)} both say anchor; keep one"
        )
    train = [entry for entry in members if entry.split == "train"]
    if not train:
        raise RecipeError(
            f"family {family}: all of {', '.join(entry.system_id for entry in members)} are held out; "
            "add a train system to the recipe's entries"
        )
    return (marked or train)[0]
