"""Does the clash term rank models as MolProbity's clashscore does? Twenty models, both sides, Spearman's rho.

Fourteen structures as they were deposited, re-refined or predicted, six more shaken; none of them was used to choose
anything in the term. cctbx's clashscore2 takes hydrogens and radii from a monomer library. The one in the shared data
has larger oxygens and hydrogens than MolProbity's (1.52 and 1.20 A for 1.40 and, aromatic, 1.05), and names the two
hydrogens of a CH2 group by version 3 of the PDB's names where cctbx asks for version 2, so that one of the two is lost.
So clashscore2 runs twice, and like is compared with like: with the library as it is and our term given its radii
(`_library`), and with radii and names set right (`_molprobity`). `clash_spearman` is the lower of the two. How far our
term, with MolProbity's radii, follows the library as it is stands in `_other_radii`, how far the two runs of
clashscore2 follow each other in `clashscore2_spearman_itself`.
"""

import json
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from cryofound.config import digest
from cryofound.errors import StructureError
from cryofound.evaluation.monomer_library import set_right
from cryofound.physics.clashes import AROMATIC, RADII, ClashTopology, clash_overlap, clash_score, clash_topology
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.reading import read_model
from cryofound.structure.writing import write_ensemble

STRUCTURES = (
    "calmodulin/seed/1exr_final.cif", "calmodulin/seed/1up5_final.cif",
    "calmodulin/predicted/AF-P0DP23-F1-model_v6.cif",
    "families/ras/4obe_final.cif.gz", "families/ras/5uk9_final.cif.gz", "families/ras/6wgn_final.cif.gz",
    "families/ras/3k8y_final.cif.gz", "families/adenylate_kinase/1ake_final.cif.gz",
    "families/adenylate_kinase/6s36_final.cif.gz", "families/adenylate_kinase/8bqf_final.cif.gz",
    "families/hsp90_ntd/1us7_final.cif.gz", "families/hsp90_ntd/3c0e_final.cif.gz",
    "families/hsp90_ntd/4as9_final.cif.gz", "families/gpcr_class_a/predicted/AF2_oprk_human.pdb.gz",
)  # fmt: skip
SHAKEN = {3: 0.05, 6: 0.10, 7: 0.15, 0: 0.20, 11: 0.25, 2: 0.30}  # row of STRUCTURES, angstrom along each axis
PROCESSES = 2


def clash_ranking(data: Path, scratch: Path) -> dict[str, float]:
    """Spearman's rho between our term and clashscore2 over the twenty models, and over the fourteen real ones alone.

    data is the shared data folder; clashscores are kept in `scratch`, by the digest of the positions, since each takes
    half a minute. Raises StructureError if clashscore2 fails.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    given = monomer_library(data, scratch / "library-as-it-is", repair=False)
    complete = monomer_library(data, scratch / "library-complete", repair=True)
    models = [(read_model(data / name), 0.0, row) for row, name in enumerate(STRUCTURES)]
    models += [(models[row][0], scale, row) for row, scale in SHAKEN.items()]
    positions = [_shaken(model, scale, row) for model, scale, row in models]
    topologies = [clash_topology(model) for model, _, _ in models]
    ours = _ours(topologies, positions)
    same = _ours([_with_given_radii(topology) for topology in topologies], positions)
    jobs = [
        (model, xyz, library, scratch)
        for library in (given, complete)
        for (model, _, _), xyz in zip(models, positions, strict=True)
    ]
    with ThreadPoolExecutor(PROCESSES) as pool:
        theirs = np.array(list(pool.map(lambda job: official_clashscore(*job), jobs))).reshape(2, len(models))
    given_score, molprobity_score = theirs
    real = slice(len(STRUCTURES))
    (term, score), (same_term, _) = ours, same
    like = {"library": _rho(same_term, given_score), "molprobity": _rho(term, molprobity_score)}
    return {
        "clash_spearman": min(like.values()),
        **{f"clash_spearman_{name}": rho for name, rho in like.items()},
        "clash_spearman_library_real": _rho(same_term[real], given_score[real]),
        "clash_spearman_molprobity_real": _rho(term[real], molprobity_score[real]),
        "clash_spearman_other_radii": _rho(term, given_score),
        "clash_score_spearman_molprobity": _rho(score, molprobity_score),
        "clash_score_over_molprobity": float(np.median(score / np.maximum(molprobity_score, 0.1))),
        "clashscore2_spearman_itself": _rho(given_score, molprobity_score),
        "clashscore2_least": float(molprobity_score.min()),
        "clashscore2_greatest": float(molprobity_score.max()),
    }


def _shaken(model: AtomicModel, scale: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=scale, size=model.positions_xyz.shape)
    return (model.positions_xyz + noise).astype(np.float32)


def _ours(topologies: list[ClashTopology], positions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(model,) each: the term per 1000 atoms (angstrom^2), and our own clashscore."""
    terms, scores = [], []
    for topology, positions_xyz in zip(topologies, positions, strict=True):
        xyz = torch.from_numpy(positions_xyz)[None]
        terms.append(1000.0 * float(clash_overlap(xyz, topology).sum()) / topology.n_counted)
        scores.append(float(clash_score(xyz, topology)))
    return np.array(terms), np.array(scores)


def _with_given_radii(topology: ClashTopology) -> ClashTopology:
    """The topology with the radii of the library as it is."""
    radius = topology.radius.clone()
    atoms = len(radius) - len(topology.hydrogens.parent)
    heavy, hydrogen = radius[:atoms], radius[atoms:]
    heavy[heavy == RADII["O"]] = 1.52
    heavy[heavy == AROMATIC] = RADII["C"]
    hydrogen[~topology.donor[atoms:]] = 1.20
    return replace(topology, radius=radius)


def _rho(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(ours), rankdata(theirs))[0, 1])


def official_clashscore(model: AtomicModel, positions_xyz: np.ndarray, library: Path, scratch: Path) -> float:
    """clashscore2 of one model (atom, 3) with a library, from `scratch` if it was asked for before.

    Raises StructureError if it fails.
    """
    name = digest(library.name, positions_xyz.tolist(), model.atom_name.tolist())
    path, answer = scratch / f"{name}.cif", scratch / f"{name}.json"
    if not answer.is_file():
        write_ensemble(path, model, positions_xyz[None])
        program = Path(__file__).with_name("clashscore_process.py")
        command = [sys.executable, "-P", str(program), str(library.resolve()), str(path), str(answer)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise StructureError(f"{path}: clashscore2 failed with exit code {finished.returncode}: {reason}")
    return float(json.loads(answer.read_text())["clashscore"])


def monomer_library(data: Path, folder: Path, repair: bool) -> Path:
    """The folder, with the shared data's monomer library unpacked in it, names and radii set right if `repair`."""
    if not folder.is_dir():
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        with tarfile.open(data / "molprobity" / "chem_data" / "chem_data_min.tar.xz") as archive:
            archive.extractall(aside, filter="data")
        if repair:
            set_right(aside / "chem_data")
        aside.rename(folder)
    return folder
