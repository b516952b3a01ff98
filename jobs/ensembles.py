"""Sampling every system of a store and scoring the samples: one Ray task per system."""

from functools import partial
from pathlib import Path

import numpy as np

from cryofound.config import Recipe
from cryofound.ensemble.store import open_store, read_system, system_folder
from cryofound.ensemble.system import has_unseen
from cryofound.evaluation.baselines import normal_modes_ensemble
from cryofound.evaluation.metrics import StateScore, evaluate_system
from cryofound.evaluation.pictures import save_ensemble_picture
from cryofound.evaluation.scores import EnsembleScore, evaluate_ensemble, write_scores
from cryofound.sampling.flow_model import load_flow_model
from cryofound.sampling.zero_shot import Ensemble, sample_ensemble
from cryofound.structure.writing import write_ensemble
from cryofound.training.scope import Group, group_of, groups
from jobs.steps import fan_out

SCORES = "scores.json"


def sample(recipe: Recipe, store: Path, stage1: Path, stage2: Path, folder: Path) -> None:
    """Write every system's samples: `<system>.cif` for viewers, and `<system>.npz` that later steps read.

    positions_xyz in the latter is (sample, atom, 3) float32, angstrom, in the canonical frame; share (sample,) float64
    of the draws that each stands for. A system is sampled from the model of its group; one whose group was not trained
    is left out.
    """
    systems = open_store(store)
    trained = groups(recipe.scope, systems)
    owners = {name: group_of(recipe.scope, system, trained) for name, system in systems.items()}
    for name in [name for name, owner in owners.items() if owner is None]:
        print(f"sample {name} left out: scope {recipe.scope} trained no model for it", flush=True)
    wanted = {name for name, system in systems.items() if recipe.sampling.systems == "all" or has_unseen(system)}
    jobs = [(name, owner) for name, owner in owners.items() if owner is not None and name in wanted]
    draw = partial(_draw, recipe, store, stage1, stage2, folder)
    fan_out("sample", draw, jobs, gpus=recipe.engine.gpus_per_worker)


def write_ensemble_file(folder: Path, system_id: str, drawn: Ensemble) -> None:
    """Write what `read_ensemble` reads."""
    np.savez(_sample_file(folder, system_id), positions_xyz=drawn.positions_xyz, share=drawn.share)


def read_ensemble(folder: Path, system_id: str) -> Ensemble:
    """A system's samples as they were written; before there were shares, all stood for the same."""
    with np.load(_sample_file(folder, system_id), allow_pickle=False) as arrays:
        positions = arrays["positions_xyz"]
        return Ensemble(positions, arrays.get("share", np.full(len(positions), 1 / len(positions))))


def evaluate(store: Path, samples: Path, folder: Path) -> None:
    """Write scores.json and `<system>.png`: samples against the true states, beside the baselines."""
    sampled = [name for name in open_store(store) if _sample_file(samples, name).is_file()]
    scored = fan_out("evaluate", partial(_score, store, samples, folder), sampled)
    write_scores(folder / SCORES, [row for states, _ in scored for row in states], [ensemble for _, ensemble in scored])


def _sample_file(folder: Path, system_id: str) -> Path:
    return folder / f"{system_id}.npz"


def _draw(recipe: Recipe, store: Path, stage1: Path, stage2: Path, folder: Path, job: tuple[str, Group]) -> None:
    system_id, group = job
    model = load_flow_model(recipe, group.training_ids, group.folder(stage1), group.folder(stage2))
    system = read_system(system_folder(store, system_id))
    drawn = sample_ensemble(model, system, recipe.seed)
    write_ensemble(folder / f"{system_id}.cif", system.reference, drawn.positions_xyz, name=system_id)
    write_ensemble_file(folder, system_id, drawn)


def _score(store: Path, samples: Path, folder: Path, system_id: str) -> tuple[list[StateScore], EnsembleScore]:
    system = read_system(system_folder(store, system_id))
    drawn = read_ensemble(samples, system_id)
    save_ensemble_picture(folder / f"{system_id}.png", system, drawn.positions_xyz)
    states = evaluate_system(system, drawn.positions_xyz, normal_modes_ensemble(system.reference))
    return states, evaluate_ensemble(system, drawn.positions_xyz)
