"""Where the public archives answer; each base address can be set in the environment, for a mirror server or a test."""

import os

from cryofound.catalog.source_schema import EmdbSource, EmpiarSource, PdbSource

# Name of the environment variable: its default. https://www.wwpdb.org/ftp/pdb-ftp-sites, https://www.ebi.ac.uk/emdb/api/,
# https://www.ebi.ac.uk/empiar/api/documentation/
DEFAULTS = {
    "CRYOFOUND_WWPDB": "https://files.wwpdb.org/pub",
    "CRYOFOUND_EMDB_API": "https://www.ebi.ac.uk/emdb/api",
    "CRYOFOUND_EMPIAR": "https://ftp.ebi.ac.uk/empiar/world_availability",
    "CRYOFOUND_EMPIAR_API": "https://www.ebi.ac.uk/empiar/api",
}


def file_url(source: PdbSource | EmdbSource | EmpiarSource, file: str) -> str:
    """Address of a file of an archive's entry; `file` as `default_file` or the entry gives it."""
    match source:
        case PdbSource():
            return f"{_base('CRYOFOUND_WWPDB')}/pdb/data/structures/divided/mmCIF/{source.id[1:3].lower()}/{file}"
        case EmdbSource():
            return f"{_base('CRYOFOUND_WWPDB')}/emdb/structures/{source.id}/{file}"
        case EmpiarSource():
            return f"{_base('CRYOFOUND_EMPIAR')}/{source.id.removeprefix('EMPIAR-')}/data/{file}"


def entry_url(archive_id: str) -> str:
    """Address at which the JSON interface of EMDB or EMPIAR describes an entry."""
    if archive_id.startswith("EMPIAR-"):
        return f"{_base('CRYOFOUND_EMPIAR_API')}/entry/{archive_id.removeprefix('EMPIAR-')}/"
    return f"{_base('CRYOFOUND_EMDB_API')}/entry/{archive_id}"


def default_file(source: PdbSource | EmdbSource) -> str:
    """The file that stands for the whole entry: the mmCIF file, the main map."""
    if isinstance(source, PdbSource):
        return f"{source.id.lower()}.cif.gz"
    return f"map/{source.id.lower().replace('-', '_')}.map.gz"


def _base(name: str) -> str:
    return (os.environ.get(name) or DEFAULTS[name]).rstrip("/")
