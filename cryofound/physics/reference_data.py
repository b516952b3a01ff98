"""MolProbity's reference data in the user's home: fetched once, by checksum, with its licence beside it.

The Top8000 grids have a public address; cctbx's folder `chem_data`, cut down to proteins, comes from a mirror only.
Nothing of it is needed to train: the package ships what it derives from the grids (`derive`).
"""

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cryofound.errors import SourceError
from cryofound.manifest import file_sha256, is_finished, publishing
from cryofound.physics.ramachandran import derive_table
from cryofound.physics.rotamers import derive_tables

ADDRESS = "https://raw.githubusercontent.com/rlabduke/reference_data/master/Top8000"
GRIDS = {
    "rama8000-cispro.data": "143a3004668baefaf6749bd9c2acbe829d3b1a93059c74ba766b04f1e00f43ab",
    "rama8000-general-noGPIVpreP.data": "ccdbc6a201ca2510119e77b0dd169ca2cdea7f2c9ed348555a3b1129f8c2b00a",
    "rama8000-gly-sym.data": "89c75a5ac036ff3309c51b46a2412f30137827abaff4606209ed41e04fcba637",
    "rama8000-ileval-nopreP.data": "567e1318128a50b8f44362427bf717d564749936d22d5dbfd34e5b0c17819276",
    "rama8000-prepro-noGP.data": "1cc10b92911d47ca775f0a8131a029b42634dbe26364cece4cfdc8c85b9c3fab",
    "rama8000-transpro.data": "092b4c0bcd2fe846a063000c83d13cbe62ff43b2dafd67ecb8a47042cce747ec",
    "rota8000-asn.data": "fa42b353e8c8fe662d78764f8346d8c65d8cc2a2fcbdb9681a8e3244cf39a5e1",
    "rota8000-asp.data": "a144e6188b5358fa34b0ac2e81a2ee80446384bf7cec62d1dabf1eaf817f82c6",
    "rota8000-cys.data": "1d4a83389f6fd5c6ddb73799ca42927c80c62db7c742361df44a740155e60484",
    "rota8000-gln.data": "4182caba7f26506522365d6b4e7ec940f010ecbb32bcd536011496a9ecd506ad",
    "rota8000-glu.data": "e4806705048e0a8e750c3848f5db1f9b5d4b52bec95ac243da6a5794c26af2e4",
    "rota8000-his.data": "42885096613cc8e75416a837304e353b37f0104d3838b3ba348b92b027c7ebdd",
    "rota8000-ile.data": "381cb7275d5490720dc94361a1eaf3561fb7f2e75ecb1c5bd8badd4698f42590",
    "rota8000-leu.data": "d938e27e4b1bd6e6afeb0a62b157e57e70ff3d0d1a31fee5052d5ff01217f20e",
    "rota8000-met.data": "1ff4dc554a85a34cd53b16e1276277c772caa810a0f7fc0cf7938af1cfda7603",
    "rota8000-phetyr.data": "50fb18a362cb114478e9c5e8375eb28f8c49403c3e44af03fd6e8dd17c5a3a88",
    "rota8000-pro.data": "63836f5d6ea38af5b413094811266d9cd320f9a1cfdbad2e180be38030a808e1",
    "rota8000-ser.data": "29cfe12bbd2e5d83c26ad56e139f088275989748e097306cd7a3e230c5b062c8",
    "rota8000-thr.data": "22a824fefb6ce9b55d2f6a394465b58527196e4530669b4ac6009e3ca989327a",
    "rota8000-trp.data": "a08b04e57f485898d0bcf22a2fe0f61acdd3401fb9bd84f0715c7a6971c7d7b7",
    "rota8000-val.data": "38ab7a37fe6fcff545160f2bb620a3ae4b20a9a033de838049a0b141997e3660",
}  # fmt: skip
ARCHIVE = "chem_data_min.tar.xz"
ARCHIVE_SHA256 = "d1d15953fcffe681e43943adc253d86aefb6b4e784ab3a6d68d14968b59e02f0"
FILES = {**GRIDS, ARCHIVE: ARCHIVE_SHA256}
UNPACKED = "cctbx"  # a folder that holds chem_data, as cctbx looks for it
SOURCES = "sources.json"
LICENCE = "LICENCE.md"
GRID_LICENCE = "CC BY 4.0"
ARCHIVE_LICENCE = "CC BY 4.0, LGPL-3, CC0"
LICENCE_TEXT = f"""# Reference data of MolProbity

- `rama8000-*.data`, `rota8000-*.data`, and `{UNPACKED}/chem_data/rotarama_data`: Top8000 distributions, Richardson
  Laboratory, Duke University, https://github.com/rlabduke/reference_data; CC BY 4.0,
  https://creativecommons.org/licenses/by/4.0/. Cite Williams et al. 2018, doi:10.1002/pro.3330, and Hintze et al. 2016,
  doi:10.1002/prot.25039. The ARG and LYS grids of chem_data are rebuilt from the three classes of iris-validation
  (W. Rochira; MIT, data CC BY 4.0).
- `{UNPACKED}/chem_data/mon_lib`: CCP4 monomer library by way of refmac-dictionary and Coot; LGPL-3, GPL.
- `{UNPACKED}/chem_data/chemical_components`: wwPDB chemical component dictionary; CC0.
"""


def fetch(into: Path, mirror: Path | None = None, address: str = ADDRESS) -> dict[str, str]:
    """Bring every file into the folder `into`; returns where each came from. What is there already is left alone.

    A file is taken from anywhere below `mirror` if it lies there with the right checksum, else from `address`.
    Raises SourceError with one line; files that arrived before stay.
    """
    into = Path(into)
    if mirror is not None and not Path(mirror).is_dir():
        raise SourceError(f"{mirror}: no such folder; give the folder of a mirror, or none to download")
    into.mkdir(parents=True, exist_ok=True)
    sources = _sources(into)
    wanted = [name for name, sha256 in FILES.items() if not _is_whole(into / name, sha256)]
    mirrored = dict(_found_below(Path(mirror), wanted)) if mirror is not None and wanted else {}
    for name in wanted:
        if name in mirrored:
            aside = into / f"{name}.partial"
            shutil.copyfile(mirrored[name], aside)
            os.replace(aside, into / name)
            sources[name] = str(mirrored[name])
        elif name in GRIDS:
            sources[name] = _download(f"{address}/{_folder(name)}/{name}", into / name)
        else:
            raise SourceError(
                f"{name}: has no public address; give a folder that holds it with --from or CRYOFOUND_MIRROR "
                f"(all else is in {into})"
            )
        _write(into / SOURCES, json.dumps(sources, indent=1) + "\n")
    if not (into / LICENCE).is_file():
        _write(into / LICENCE, LICENCE_TEXT)
    if not is_finished(into / UNPACKED):
        with (
            publishing(into / UNPACKED, archive_sha256=ARCHIVE_SHA256) as partial,
            tarfile.open(into / ARCHIVE) as archive,
        ):
            archive.extractall(partial, filter="data")
    return {name: sources.get(name, "") for name in FILES}


def states(into: Path) -> list[tuple[str, str, str, str]]:
    """Name, state (whole, damaged or missing), where it came from and licence of every file."""
    sources = _sources(Path(into))
    rows = []
    for name, sha256 in FILES.items():
        path = Path(into) / name
        state = "missing" if not path.is_file() else "whole" if _is_whole(path, sha256) else "damaged"
        licence = GRID_LICENCE if name in GRIDS else ARCHIVE_LICENCE
        rows.append((name, state, sources.get(name, "") if state == "whole" else "", licence))
    return rows


def derive(folder: Path, into: Path) -> list[Path]:
    """Write ramachandran.npz and rotamers.npz, as the package ships them, into `into`, from a fetched `folder`.

    Raises SourceError if a grid is missing.
    """
    into = Path(into)
    tables = {
        "ramachandran": {"percentile": derive_table(folder)},
        # The edition that MolProbity works with, which alone has ARG and LYS.
        "rotamers": derive_tables(Path(folder) / UNPACKED / "chem_data" / "rotarama_data"),
    }
    into.mkdir(parents=True, exist_ok=True)
    written = []
    for name, arrays in tables.items():
        aside = into / f"{name}.partial.npz"
        np.savez_compressed(aside, **arrays)
        os.replace(aside, into / f"{name}.npz")
        written.append(into / f"{name}.npz")
    return written


def _folder(name: str) -> str:
    kind = "ramachandran" if name.startswith("rama") else "rotamer"
    return f"Top8000_{kind}_pct_contour_grids"


def _found_below(mirror: Path, wanted: list[str]) -> Iterator[tuple[str, Path]]:
    """Files of the mirror with a wanted name and its checksum; other editions of a grid have the same name."""
    for path in sorted(mirror.rglob("*")):
        if path.name in wanted and _is_whole(path, FILES[path.name]):
            yield path.name, path


def _download(url: str, target: Path) -> str:
    """Download to `target`, whole or not at all; returns the address. Raises SourceError."""
    import pooch  # takes a while, which only a download should cost

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, known_hash=f"sha256:{FILES[target.name]}", fname=target.name, path=target.parent)
    except ValueError:  # pooch's word for a wrong checksum
        raise SourceError(
            f"{url}: serves another file than the one with sha256 {FILES[target.name]}; "
            "give a folder that holds it with --from or CRYOFOUND_MIRROR"
        ) from None
    except OSError as error:
        raise SourceError(
            f"{url}: cannot be downloaded ({' '.join(str(error).split())}); "
            "check the connection, or give a folder that holds it with --from or CRYOFOUND_MIRROR"
        ) from None
    return url


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _sources(into: Path) -> dict[str, str]:
    path = into / SOURCES
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.partial")
    aside.write_text(text)
    os.replace(aside, path)
