"""What an entry says of its structures and states."""

from typing import Annotated, Literal

from pydantic import Field

from cryofound.catalog.source_schema import Sha256
from cryofound.config import Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$", description="letters, digits, single - or _")]
Residues = Annotated[
    tuple[int, int] | None, Field(None, description="author numbers of the first and last residue to keep; all if null")
]
SourceName = Annotated[str, Field(description="name of one of the entry's sources")]
OptionalSha256 = Annotated[Sha256 | None, Field(None, description="sha256 of the file, checked where it is given")]


class SourceFile(Section):
    """A file of one of the entry's sources."""

    source: SourceName
    file: str | None = Field(None, description="path inside the source; null for a source that is one file")
    sha256: OptionalSha256


class StructureChoice(Section):
    """A chain in a structure file."""

    source: SourceName
    file: str | None = Field(None, description="path inside the source; null for a source that is one file")
    chain: str | None = Field(
        None,
        description="author chain name; null for the longest protein chain, of a state for the most like the reference",
    )
    model: int = Field(0, ge=0, description="number in the file, from 0")
    residues: Residues
    without: tuple[tuple[int, int], ...] = Field(
        default=(),
        description="author numbers of the first and last residue of each stretch to leave out, as an insert",
    )


class Reference(StructureChoice):
    """The static structure that is deformed to meet the states."""

    method: Literal["experiment", "boltz-2", "boltz-1", "alphafold", "other"] | None = Field(
        None, description="how it was made"
    )
    made: str | None = Field(None, description="how it was made, in words: program version, alignment, seeds, who")
    placement: Literal["docked", "undocked"] = Field(
        "docked", description="undocked: it lies in another frame than the maps and must be registered first"
    )
    sha256: OptionalSha256


class StateSection(Section):
    """What every state says, of whatever kind."""

    state_id: Name
    population: float = Field(1.0, gt=0, description="relative weight among the system's states")
    split: Literal["train", "validation"] = Field("train", description="whether training may see it")


class SimulatedState(StateSection):
    """A state given by atoms; what it leaves open of its map, the entry's simulation says."""

    resolution: float | None = Field(None, gt=0, description="angstrom, of its map; null for that of simulation")
    noise: float | None = Field(None, ge=0, description="of its map, as in simulation; null for that of simulation")


class StructureState(SimulatedState, StructureChoice):
    """A state whose atoms are in a structure file; its map is simulated."""

    kind: Literal["structure"]


class TrajectoryState(SimulatedState):
    """A state that is one frame of a trajectory; its map is simulated."""

    kind: Literal["trajectory"]
    source: SourceName
    file: str = Field(description="DCD file inside the source")
    topology: str = Field(description="structure file inside the source with the same atoms in the same order")
    frame: int = Field(ge=0, description="from 0")
    chain: str | None = Field(None, description="author chain name; null for the longest protein chain")
    residues: Residues


class NormalModeState(SimulatedState):
    """A state made from the reference by one of its normal modes; its map is simulated."""

    kind: Literal["normal_mode"]
    mode: int = Field(1, ge=1, description="anisotropic-network mode, from 1 (the six rigid motions do not count)")
    sign: Literal[1, -1] = Field(1, description="direction along the mode")
    rmsd: float = Field(3.46, gt=0, description="angstrom over all atoms from the reference after superposition")


class MapState(StateSection):
    """A state that is an experimental map, in the frame of the reference's file."""

    kind: Literal["map"]
    source: SourceName
    file: str | None = Field(None, description="path inside the source; null for a source that is one file")
    sha256: OptionalSha256
    resolution: float = Field(gt=0, description="angstrom")
    resolution_from: Literal["stated", "estimated", "assumed"] = Field(
        "stated",
        description="stated by its authors, estimated from the map, or assumed until the map is at hand",
    )
    contour: float | None = Field(None, description="recommended contour level, in the map's own units")
    half_maps: tuple[SourceFile, SourceFile] | None = Field(None, description="the two half maps")
    mask: SourceFile | None = Field(None, description="mask of this map alone; the entry's mask otherwise")
    fitted_model: StructureChoice | None = Field(
        None, description="deposited model that lies in this map: for the zone around it and to compare with"
    )


StateEntry = Annotated[StructureState | TrajectoryState | NormalModeState | MapState, Field(discriminator="kind")]
