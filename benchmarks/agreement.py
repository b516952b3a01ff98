"""How well the Ramachandran and rotamer terms agree with cctbx ramalyze and rotalyze, residue by residue."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gemmi
import numpy as np
import torch

from cryofound.errors import SourceError, StructureError
from cryofound.physics.geometry import bonded_to_next
from cryofound.physics.ramachandran import ramachandran_distance, ramachandran_residues
from cryofound.physics.rotamers import rotamer_class, rotamer_distance, rotamer_residues
from cryofound.structure.atomic_model import RESIDUE_TYPES
from cryofound.structure.reading import read_model

PROCESSES = 2
KINDS = ("rama", "rotamer", "rotamer_without_arg_lys", "rotamer_outlier")
# Chain, number, and the CA position in 0.001 A: it tells residues apart that differ in their insertion code alone.
Residue = tuple[str, int, int, int, int]
Verdicts = dict[Residue, int]


def agreement(data: Path) -> dict[str, float]:
    """Shares of residues on which both sides agree, over all protein chains of all structures in `data`/families.

    `rama_agreement`: outlier or not, by the sign of our distance and by ramalyze; `rotamer_agreement` and
    `rotamer_agreement_without_arg_lys`: the class of rotalyze; `rotamer_outlier_agreement`: outlier or not, by the sign
    of our distance and by rotalyze. Each with its counts: `residues_*` that both judge, those that `only_ours_*` or
    `only_cctbx_*` judges, `outliers_*` of cctbx and `outliers_found_*` by us as well.
    Raises SourceError if the data or cctbx is missing, or cctbx fails.
    """
    files = sorted(path for path in (data / "families").rglob("*.gz") if {".cif", ".pdb"} & set(path.suffixes))
    archive = data / "molprobity" / "chem_data" / "chem_data_min.tar.xz"
    if not files or not archive.is_file():
        raise SourceError(f"{data}: holds no families/**/*.gz or no {archive.name}; give the folder of the shared data")
    with ThreadPoolExecutor(PROCESSES) as pool:
        running = [pool.submit(cctbx_verdicts, archive, files[first::PROCESSES]) for first in range(PROCESSES)]
        ours = {path: our_verdicts(path) for path in files}
        theirs = {
            path: found
            for first, each in enumerate(running)
            for path, found in zip(files[first::PROCESSES], each.result(), strict=True)
        }
    counts: Counter[str] = Counter()
    for path in files:
        for kind in KINDS:
            counts += compared(kind, ours[path][kind], theirs[path][kind])
    shares = {kind: counts[f"agreed_{kind}"] / max(counts[f"residues_{kind}"], 1) for kind in KINDS}
    return {
        "rama_agreement": shares["rama"],
        "rotamer_agreement": shares["rotamer"],
        "rotamer_agreement_without_arg_lys": shares["rotamer_without_arg_lys"],
        "rotamer_outlier_agreement": shares["rotamer_outlier"],
        **{name: float(count) for name, count in sorted(counts.items()) if not name.startswith("agreed")},
    }


def compared(kind: str, ours: Verdicts, theirs: Verdicts) -> Counter[str]:
    """How many residues both sides judge, agree on and so forth, as `agreement` names them."""
    both = ours.keys() & theirs.keys()
    outlier = 1 if kind in ("rama", "rotamer_outlier") else 0
    outliers = [residue for residue in both if theirs[residue] == outlier]
    return Counter(
        {
            f"residues_{kind}": len(both),
            f"agreed_{kind}": sum(ours[residue] == theirs[residue] for residue in both),
            f"only_ours_{kind}": len(ours) - len(both),
            f"only_cctbx_{kind}": len(theirs) - len(both),
            f"outliers_{kind}": len(outliers),
            f"outliers_found_{kind}": sum(ours[residue] == outlier for residue in outliers),
        }
    )


def our_verdicts(path: Path) -> dict[str, Verdicts]:
    """Verdicts of every kind on all chains of a file; a chain that `read_model` refuses has none."""
    rama, rotamer, outlier, names = [], [], [], []
    for chain in gemmi.read_structure(str(path))[0]:
        try:
            model = read_model(path, chain.name)
        except StructureError:
            continue
        places = np.rint(1000 * model.ca_xyz().astype(np.float64)).astype(int).tolist()
        keys = [(chain.name, int(number), *place) for number, place in zip(model.residue_number, places, strict=True)]
        positions = torch.from_numpy(model.positions_xyz)[None]
        backbone, side_chains = ramachandran_residues(model, bonded_to_next(model)), rotamer_residues(model)
        for rows, found, values in (
            (backbone, rama, ramachandran_distance(positions, backbone) > 0),
            (side_chains, rotamer, rotamer_class(positions, side_chains)),
            (side_chains, outlier, rotamer_distance(positions, side_chains) > 0),
        ):
            found += zip((keys[row] for row in rows.residue.tolist()), values[0].long().tolist(), strict=True)
        names += zip(keys, (RESIDUE_TYPES[kind] for kind in model.residue_type), strict=True)
    return _by_kind(rama, rotamer, outlier, dict(names))


def cctbx_verdicts(archive: Path, files: Sequence[Path]) -> list[dict[str, Verdicts]]:
    """Verdicts of ramalyze and rotalyze on each file, by the reference data in `archive`.

    Raises SourceError if cctbx is missing or fails.
    """
    if importlib.util.find_spec("mmtbx") is None:
        raise SourceError("cctbx is not installed; pip install cctbx-base")
    # cctbx crashes where torch or gemmi was imported before: it gets its own process.
    program = Path(__file__).with_name("agreement_process.py")
    with tempfile.TemporaryDirectory(prefix="cryofound-agreement-") as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps([str(path) for path in files]))
        command = [sys.executable, "-P", str(program), str(archive), str(job)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise SourceError(f"cctbx failed with exit code {finished.returncode}: {reason}; check cctbx-base")
        answer = json.loads(job.read_text())
    found = []
    for backbone, side_chains in answer:
        rama, rotamer = (
            [((chain, number, *place), verdict) for chain, number, place, _, verdict in rows]
            for rows in (backbone, side_chains)
        )
        names = {(chain, number, *place): name for chain, number, place, name, _ in side_chains}
        found.append(_by_kind(rama, rotamer, [(residue, int(row == 0)) for residue, row in rotamer], names))
    return found


def _by_kind(rama: list, rotamer: list, outlier: list, names: dict[Residue, str]) -> dict[str, Verdicts]:
    simple = [(residue, row) for residue, row in rotamer if names[residue] not in ("ARG", "LYS")]
    return {kind: dict(found) for kind, found in zip(KINDS, (rama, rotamer, simple, outlier), strict=True)}
