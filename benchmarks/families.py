"""Leave-one-out over the real families: is motion learnt from relatives better than none, and than normal modes?

    python -m benchmarks families [--folds 0,1,2,3] [--seeds 0,1,2]

Then: in how many of the steps from scratch does the model of the first fold fit the receptors that it never saw, and
how much faster do two workers train than one.

Four folds, each of which leaves out a quarter of every family: systems where a family has several, conformers (in all
their resolutions) where it has one. One joint training per fold and seed, by the steps of jobs/pretrain.py; what is
finished stays on disk, so that an interrupted table goes on. An `ensembles/NAME` folder beside the samples of a fold
(`unconditional`, `scope_system`, the latter for the first seed) is scored as one more method.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from benchmarks.families_scores import RECEPTORS, FoldScores, flat_metrics, score_fold, score_table
from benchmarks.finetune import finetune_step_ratio
from benchmarks.physics import shared_data
from benchmarks.two_workers import two_worker_speedup
from cryofound.catalog.entry import CatalogEntry, load_entries
from cryofound.catalog.files import write_entry
from cryofound.config import Recipe, digest, load_recipe
from cryofound.ensemble.store import STORE
from cryofound.errors import RecipeError, TrainingError
from cryofound.evaluation.motion import MotionScore, SpreadScore
from cryofound.manifest import is_finished
from cryofound.revision import git_revision
from data_pipeline.plan import CACHE

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Path("configs/benchmark/families.yaml")
FOLDS, SEEDS = (0, 1, 2, 3), (0, 1, 2)

# By fold. Close pairs of receptors (beta-1 and beta-2, A1 and A2A) are never left out together. 1EXR always trains: the
# family's canonical frame is made from it.
SYSTEMS_LEFT_OUT = (
    {"4CLN", "5A2H", "b2ar", "nts1", "hras"},
    {"1RFJ", "a2ar", "rhodopsin", "kras", "hsp90_yeast"},
    {"1UP5", "b1ar", "kor", "nras"},
    {"1CLM", "a1r", "5ht1b", "hsp90_candida"},
)
CONFORMERS_LEFT_OUT: Sequence[Mapping[str, set[str]]] = (
    {"adk_ecoli": {"4ake_A"}, "abl1": {"1m52_A", "2g1t_D"}, "serca1a": {"1xp5_A", "3w5c_A"}},
    {"adk_ecoli": {"6f7u_A"}, "abl1": {"2g1t_A", "3qri_A"}, "serca1a": {"2c88_A", "5ncq_A"}},
    {"adk_ecoli": {"4x8m_A", "6hap_A"}, "abl1": {"2hz0_A", "2gqg_A"}, "serca1a": {"3ar9_A", "3fps_A"}},
    {"adk_ecoli": {"6s36_A"}, "abl1": {"5hu9_A", "2f4j_A", "1opj_A"}, "serca1a": {"2o9j_A", "3n8g_A"}},
)

# What issue 5 asks for; angstrom, shares. Those of receptors are over CA, as the trials that the issue quotes.
LIMITS = {"worst_loss_vs_static": 0.2, "finetune_step_ratio": 0.2}
FLOORS = {
    "gpcr_class_a_recovered_ca": 0.30,
    "gpcr_class_a_over_relatives_field": 0.03,
    "gpcr_class_a_beats_normal_modes": 7.0,
    "two_worker_speedup": 1.7,
}
SPREAD_OF = ("recall_rmsd", "recovered_ca", "over_relatives_field")


def measure(work: Path, folds: Sequence[int] = FOLDS, seeds: Sequence[int] = SEEDS) -> dict[str, float]:
    """Run what is not finished in `work`, print a table for each seed, gather; raises TrainingError if a job fails."""
    recipe, data = load_recipe(ROOT / RECIPE), shared_data()
    entries = load_entries([str(ROOT / pattern) for pattern in recipe.entries])
    per_seed = []
    for seed in seeds:
        homes = [work / f"fold-{fold}" / f"seed-{seed}" for fold in folds]
        alone = seed == seeds[0]
        done = [
            run_fold(recipe, entries, fold, seed, home, alone=alone) for fold, home in zip(folds, homes, strict=True)
        ]
        whole = FoldScores(
            [row for scores in done for row in scores.motions], [row for scores in done for row in scores.spreads]
        )
        Console(width=None if sys.stdout.isatty() else 160).print(f"Seed {seed}", score_table(whole.motions))
        per_seed.append(flat_metrics(whole))
    first = work / f"fold-{folds[0]}" / f"seed-{seeds[0]}"
    return gather(seeds, per_seed) | fine_tuned(first, fold_entries(entries, folds[0])) | two_worker_speedup(data)


def fine_tuned(home: Path, entries: Sequence[CatalogEntry]) -> dict[str, float]:
    """`finetune_step_ratio` and its parts, of a fold's model and the receptors that it left out; kept in its home."""
    record = home / "finetune.json"
    if not record.is_file():
        left_out = [entry for entry in entries if entry.family == RECEPTORS and entry.split == "held_out"]
        _write(record, finetune_step_ratio(_finished(home, "stage1"), left_out, entries, cache=home / CACHE))
    return json.loads(record.read_text())


def gather(seeds: Sequence[int], per_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the seeds, `_spread` of what decides (standard deviation), and those numbers of every seed.

    What the first seed alone has (`scope_system`) is of that seed.
    """
    metrics = {name: float(np.mean([row[name] for row in per_seed if name in row])) for name in per_seed[0]}
    shared = set(per_seed[0]).intersection(*per_seed)
    decisive = [name for name in metrics if name.endswith(SPREAD_OF) and name in shared]
    if len(seeds) > 1:
        metrics |= {f"{name}_spread": float(np.std([row[name] for row in per_seed], ddof=1)) for name in decisive}
    for seed, row in zip(seeds, per_seed, strict=True):
        metrics |= {f"seed{seed}_{name}": row[name] for name in decisive}
    return metrics


def fold_entries(entries: Sequence[CatalogEntry], fold: int) -> list[CatalogEntry]:
    """The entries with the splits of a fold; an anchor that is left out hands its office to the first that is not.

    Raises RecipeError for a conformer that its entry does not have.
    """
    found = []
    for entry in entries:
        out = entry.system_id in SYSTEMS_LEFT_OUT[fold]
        hidden = CONFORMERS_LEFT_OUT[fold].get(entry.system_id, set())
        ids = [state.state_id for state in entry.states]
        lost = sorted(name for name in hidden if not any(each.startswith(f"{name}_") for each in ids))
        if lost:
            raise RecipeError(
                f"{entry.system_id}: no state of conformer {lost[0]} to leave out; it has {', '.join(ids)}"
            )
        states = tuple(
            state.model_copy(update={"split": "validation" if _is_of(state.state_id, hidden) else "train"})
            for state in entry.states
        )
        split = "held_out" if out else "train"
        found.append(entry.model_copy(update={"split": split, "anchor": entry.anchor and not out, "states": states}))
    return found


def run_fold(
    recipe: Recipe, entries: Sequence[CatalogEntry], fold: int, seed: int, home: Path, *, alone: bool = False
) -> FoldScores:
    """Train on a fold and score what it leaves out, in a process of its own; read back if that was finished.

    The same revision (without local changes), recipe and entries go on with the steps that `home` has; for others it is
    emptied. `alone` asks for `scope: system` too (families_fold.py). Raises TrainingError if the job ends with another
    exit code than 0.
    """
    chosen = fold_entries(entries, fold)
    revision = git_revision(ROOT)
    identity = {"revision": revision, "inputs": digest(recipe, fold, seed, *chosen)}
    record, marker = home / "scores.json", home / "identity.json"
    known = json.loads(marker.read_text()) if marker.is_file() else None
    if home.exists() and (known != identity or revision.endswith("+changes")):
        shutil.rmtree(home)
    if not record.is_file():
        home.mkdir(parents=True, exist_ok=True)
        _write(marker, identity)
        for entry in chosen:
            write_entry(home / "entries" / f"{entry.system_id}.yaml", entry, force=True)
        there = (str(home / "entries" / "*.yaml"),)
        _train(recipe.model_copy(update={"seed": seed, "entries": there}), home, f"fold={fold} seed={seed}", alone)
        ensembles = {each.name: each for each in sorted((home / "ensembles").glob("*"))}
        scores = score_fold(_finished(home, STORE), _finished(home, "sample"), ensembles)
        _write(record, {name: [asdict(row) for row in getattr(scores, name)] for name in ("motions", "spreads")})
    kept = json.loads(record.read_text())
    return FoldScores([MotionScore(**row) for row in kept["motions"]], [SpreadScore(**row) for row in kept["spreads"]])


def _train(recipe: Recipe, home: Path, named: str, alone: bool) -> None:
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    print(f"{named} started", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.families_fold", str(path), str(home), *["--alone"] * alone]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        raise TrainingError(f"{path}: the job ended with exit code {code}; its log is above")
    print(f"{named} finished seconds={time.monotonic() - began:.0f}", flush=True)


def _finished(home: Path, step: str) -> Path:
    """The one finished folder of a step in a home that has run one recipe."""
    found = [each for each in sorted(home.glob(f"{step}-*")) if is_finished(each)]
    if len(found) != 1:
        raise TrainingError(f"{home}: {len(found)} finished folders {step}-*, expected 1; delete it and run again")
    return found[0]


def _is_of(state_id: str, conformers: set[str]) -> bool:
    return any(state_id.startswith(f"{name}_") for name in conformers)


def _write(path: Path, content: object) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content) + "\n")
    os.replace(aside, path)
