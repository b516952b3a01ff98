"""Fine-tuning: training that begins with the weights of a pretrained model, and trains all of them or the residuals.

What a model says of a protein's motion lies in weights that all systems share, so a new system starts from them; only
its row of the residual table has to begin at zero.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cryofound.config import GridConfig, ModelConfig, Recipe, Section, Stage2Config
from cryofound.ensemble.shards import ShardIndex
from cryofound.ensemble.system import System
from cryofound.errors import RecipeError
from cryofound.manifest import PARTIAL, is_finished, read_manifest
from cryofound.models.vae import VAE
from cryofound.models.velocity import VelocityNetwork
from cryofound.training.checkpoints import CONFIG, WEIGHTS, load_export, load_export_config, put_weights
from cryofound.training.guides import Guides
from cryofound.training.stage1 import Stage1
from cryofound.training.stage2 import Stage2

RESIDUALS = "system_residual"

# What must agree, by stage: sizes of the networks, and the voxels they were trained on.
COARSEST = 12.0  # angstrom
_SAME: dict[str, dict[str, tuple[type[Section], tuple[str, ...]]]] = {
    "stage1": {"model": (ModelConfig, tuple(ModelConfig.model_fields)), "grid": (GridConfig, ("voxel_size",))},
    "stage2": {"stage2": (Stage2Config, ("width", "depth", "heads"))},
}


@dataclass(frozen=True)
class Pretrained:
    """Folders of the exports of a pretrained model; `stage2` is None where it has no flow."""

    stage1: Path
    stage2: Path | None

    def identity(self) -> list[str]:
        """SHA-256 of the weights and of their description; raises StoreError if a file is damaged."""
        folders = [self.stage1, *([self.stage2] if self.stage2 else [])]
        manifests = [read_manifest(folder) for folder in folders]
        return [manifest["files"][name]["sha256"] for manifest in manifests for name in (WEIGHTS, CONFIG)]

    def copy_to(self, folder: Path) -> None:
        """Put the exports into `folder/stage1` and `folder/stage2`, where `find_pretrained` finds them."""
        for name, source in (("stage1", self.stage1), ("stage2", self.stage2)):
            if source:
                shutil.copytree(source, Path(folder) / name, dirs_exist_ok=True)


def find_pretrained(folder: Path) -> Pretrained:
    """The exports in a folder: an export of stage 1, or a folder that holds one of it and at most one of stage 2.

    Such are the home of a run, with `stage1-<digest>`, and a registered model, with the same in its `artifacts`. Raises
    RecipeError where there is none, or where several may be meant.
    """
    folder = Path(folder)
    if _is_export(folder):
        return Pretrained(folder, None)
    for inside in (folder, folder / "artifacts"):
        found = {name: [each for each in sorted(inside.glob(f"{name}*")) if _is_export(each)] for name in _SAME}
        several = next((folders for folders in found.values() if len(folders) > 1), None)
        if several:
            names = ", ".join(each.name for each in several)
            raise RecipeError(
                f"{inside}: holds {names}; give the folder of the one to start from, or a registered model"
            )
        if found["stage1"]:
            return Pretrained(found["stage1"][0], next(iter(found["stage2"]), None))
    raise RecipeError(
        f"{folder}: no finished stage 1 in it; give models:/NAME@ALIAS, the folder of a finished run or of its stage 1"
    )


def check_alike(start: Pretrained, recipe: Recipe) -> None:
    """Raise RecipeError, in one line with both values, if the pretrained networks are not those of the recipe."""
    differing = []
    for stage, folder in (("stage1", start.stage1), ("stage2", start.stage2)):
        then = load_export_config(folder)["recipe"] if folder else {}
        for section, (schema, keys) in _SAME[stage].items() if folder else ():
            for key in keys:
                there = then[section].get(key, schema.model_fields[key].default)  # a key younger than the checkpoint
                here = getattr(getattr(recipe, section), key)
                there = tuple(there) if isinstance(there, list) else there  # as JSON has it
                if there != here:
                    differing.append(f"{section}.{key} is {there}, the recipe's {here}")
    if differing:
        assert recipe.start is not None, "it names the checkpoint"
        raise RecipeError(
            f"start.model {recipe.start.model}: its {'; its '.join(differing)}; give the recipe the checkpoint's "
            "values, or start from another"
        )


class FineTunedStage1(Stage1):
    """Stage 1 from a pretrained VAE; systems that it was trained on keep their residuals, others begin at zero.

    Where the recipe begins with coarse maps, these begin at COARSEST: what already goes nearly where a map wants it
    need not be called from afar, but without any coarse steps it stays in nearer minima (b2AR in 80 steps: NCC 0.9017
    without, 0.9060 with, and 0.9050 from 20 A).
    """

    def __init__(
        self,
        recipe: Recipe,
        systems: dict[str, System],
        shards: ShardIndex,
        folder: Path,
        guides: Guides | None = None,
    ):
        super().__init__(recipe, systems, shards, guides)
        self.folder = folder

    def module(self) -> VAE:
        """The pretrained VAE with the residual table of this stage's systems; what is not trained is frozen."""
        vae = super().module()
        weights, ids = load_export(self.folder), load_export_config(self.folder)["training_ids"]
        weights[f"{RESIDUALS}.weight"] = carried_rows(weights[f"{RESIDUALS}.weight"], ids, self.system_ids)
        put_weights(vae, weights, self.folder / WEIGHTS, "start from another")
        if _only_residuals(self.recipe):
            vae.requires_grad_(False)
            vae.system_residual.requires_grad_(True)
        return vae

    def coarsest(self, step: int) -> float:
        """As of `Stage1`, from COARSEST at most."""
        return min(super().coarsest(step), COARSEST)


class FineTunedStage2(Stage2):
    """Stage 2 from a pretrained flow and the whitening of its latents; left as it is where only residuals are trained.

    A new system's code has the meaning that it had for the flow only with the same whitening.
    """

    def __init__(self, recipe: Recipe, systems: dict[str, System], shards: ShardIndex, vae: VAE, folder: Path):
        super().__init__(recipe, systems, shards, vae)
        self.folder = folder
        self.steps = 0 if _only_residuals(recipe) else self.steps

    def module(self) -> VelocityNetwork:
        """The pretrained network."""
        network = super().module()
        put_weights(network, load_export(self.folder), self.folder / WEIGHTS, "start from another")
        return network


def carried_rows(table: Tensor, ids: Sequence[str], system_ids: Sequence[str]) -> Tensor:
    """(system, width): the rows of `table`, which belong to `ids`, for systems of the same id, and zeros for others."""
    rows = dict(zip(ids, table, strict=True))
    return torch.stack([rows.get(name, torch.zeros_like(table[0])) for name in system_ids])


def _only_residuals(recipe: Recipe) -> bool:
    return recipe.start is not None and recipe.start.train == "residual"


def _is_export(folder: Path) -> bool:
    return not folder.name.endswith(PARTIAL) and is_finished(folder) and (folder / WEIGHTS).is_file()
