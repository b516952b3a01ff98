"""A model as a folder that needs nothing else: weights, recipe, members and card, all checksummed, none a pickle.

<folder>/manifest.json        written last; schema, and size and checksum of every file
<folder>/recipe.json          how it was trained, and how it samples
<folder>/card.json, README.md the model card, for machines and for people
<folder>/stage1, stage2       the exports of both stages
<folder>/members              what it remembers of its training systems
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryofound.config import Recipe, validated
from cryofound.ensemble.store import STORE, system_folder
from cryofound.errors import RecipeError, StoreError
from cryofound.manifest import NAME, is_finished, publishing, read_manifest, write_manifest
from cryofound.revision import git_revision
from cryofound.sampling.flow_model import FlowModel, load_flow_model
from cryofound.sampling.members import members_of, read_members, write_members
from cryofound.sampling.model_card import ModelCard, Scores, card_text, model_card
from cryofound.training.checkpoints import CONFIG, WEIGHTS, load_export, load_export_config

SCHEMA = 1
KIND, CARD, TEXT, RECIPE, STAGE1, STAGE2, MEMBERS = (
    "model", "card.json", "README.md", "recipe.json", "stage1", "stage2", "members",
)  # fmt: skip
_AGAIN = "submit its recipe to jobs/pretrain.py again, which registers it again"


def write_model_folder(
    folder: Path, recipe: Recipe, store: Path, stage1: Path, stage2: Path, *, scores: Scores | None = None
) -> None:
    """Publish a trained model, whole or not at all.

    `store` is what both stages learnt from; scores are those of its held-out systems by id, angstrom. Raises StoreError
    if the folder is there already, if the stages are not of one training, or if one of them or the store is damaged.
    """
    folder = Path(folder)
    if folder.exists():
        raise StoreError(f"{folder}: is there already; choose another folder")
    ids = [load_export_config(stage)["training_ids"] for stage in (stage1, stage2)]
    if ids[0] != ids[1]:
        raise StoreError(
            f"{stage2}: trained on {', '.join(ids[1])}, {stage1} on {', '.join(ids[0])}; give those of one run"
        )
    stages = {STAGE1: Path(stage1), STAGE2: Path(stage2)}
    with publishing(folder, kind=KIND, schema=SCHEMA) as partial:
        for name, source in stages.items():
            _copy_export(source, partial / name)
        write_members(partial / MEMBERS, members_of(recipe, store, stage1))
        revisions = {
            name: read_manifest(source, check=False).get("revision", "unknown") for name, source in stages.items()
        }
        card = model_card(
            recipe,
            store,
            schema_version=SCHEMA,
            parameters={name: _parameters(source) for name, source in stages.items()},
            revisions=revisions | {"registered": git_revision(Path(__file__).parent)},
            scores=scores or {},
        )
        (partial / RECIPE).write_text(recipe.model_dump_json(indent=1) + "\n")
        (partial / CARD).write_text(card.model_dump_json(indent=1) + "\n")
        (partial / TEXT).write_text(card_text(card))


def read_model(folder: Path) -> FlowModel:
    """The model of a folder: one of `write_model_folder`, a finished stage 2 beside what it was made from, or a home.

    Of a home it is the one model that was registered from it, else its one pair of stages and their store, whose
    members are then decoded anew. Every file of a model folder is compared with its checksum. Raises StoreError for one
    that is damaged or of another schema, RecipeError where there is none or several may be meant.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder; give one, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN")
    if _is_model(folder):
        return read_model_folder(folder)
    registered = [found for found in sorted(folder.glob(f"register-*/{KIND}")) if _is_model(found)]
    return read_model_folder(_only(folder, KIND, registered)) if registered else _read_stages(folder)


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder; raises as `read_model` does."""
    folder = Path(folder)
    _check(folder)
    card = validated(json.loads((folder / CARD).read_text()), ModelCard, f"{folder / CARD}")
    schema = card.schema_version
    if schema != SCHEMA:
        raise StoreError(f"{folder / CARD}: of schema {schema}, this program reads {SCHEMA}; {_remedy(schema)}")
    return card


def read_model_folder(folder: Path) -> FlowModel:
    """The model of a folder of `write_model_folder`; raises StoreError for one that is damaged or of another schema."""
    folder = Path(folder)
    _check(folder)
    recipe = validated(json.loads((folder / RECIPE).read_text()), Recipe, f"{folder / RECIPE}")
    ids = load_export_config(folder / STAGE2)["training_ids"]
    model = load_flow_model(recipe, ids, folder / STAGE1, folder / STAGE2)
    return replace(model, members=read_members(folder / MEMBERS))


def _read_stages(folder: Path) -> FlowModel:
    """A model that was never registered: the stages of a home, or a stage 2 beside the others."""
    alone = folder.name.startswith(f"{STAGE2}-") and is_finished(folder)
    home = folder.parent if alone else folder
    stage2 = folder if alone else _only(home, "stage 2", _finished(home, STAGE2))
    config = load_export_config(stage2)
    ids = config["training_ids"]
    stage1 = _only(
        home, "stage 1", [each for each in _finished(home, STAGE1) if _alike(load_export_config(each), config)]
    )
    stores = [store for store in _finished(home, STORE) if all(is_finished(system_folder(store, name)) for name in ids)]
    store = _only(home, "store of its training systems", stores)
    recipe = validated(config["recipe"], Recipe, f"{stage2}: its recipe")
    return replace(load_flow_model(recipe, ids, stage1, stage2), members=members_of(recipe, store, stage1))


def _finished(home: Path, name: str) -> list[Path]:
    return [found for found in sorted(home.glob(f"{name}-*")) if is_finished(found)]


def _only(home: Path, what: str, found: Sequence[Path]) -> Path:
    if len(found) == 1:
        return found[0]
    told = f"holds {', '.join(str(each.relative_to(home)) for each in found)}" if found else f"no finished {what} in it"
    raise RecipeError(f"{home}: {told}; give the folder of a model (register-*/{KIND}), or a registered one")


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two exports can be of one training: what both stages depend on is the same."""
    same = all(one["recipe"][key] == other["recipe"][key] for key in ("seed", "grid", "model", "stage1"))
    return same and one["training_ids"] == other["training_ids"]


def _is_model(folder: Path) -> bool:
    return (folder / CARD).is_file()


def _check(folder: Path) -> None:
    """Raise StoreError unless the folder is a model of this schema and all its files are what was written."""
    if not is_finished(folder) and list(folder.glob(f"{STAGE2}*/{NAME}")):
        raise StoreError(f"{folder}: registered by an older program, without its training systems; {_AGAIN}")
    manifest = read_manifest(folder, check=False, way_out=_AGAIN)
    kind, schema = manifest.get("kind"), manifest.get("schema")
    if kind != KIND:
        raise StoreError(f"{folder / NAME}: damaged, or of another thing: it says {kind}, not {KIND}; {_AGAIN}")
    if schema != SCHEMA:
        raise StoreError(f"{folder}: a model of schema {schema}, this program reads {SCHEMA}; {_remedy(schema)}")
    read_manifest(folder, way_out=f"take another copy of it, or {_AGAIN}")


def _remedy(schema: Any) -> str:
    newer = isinstance(schema, int) and schema > SCHEMA
    return "update CryoFound, or take an older version of the model" if newer else _AGAIN


def _copy_export(source: Path, target: Path) -> None:
    """The weights and their description, without curves and other copies; StoreError if they are damaged."""
    told = read_manifest(source)
    target.mkdir(exist_ok=True)
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(source / name, target / name)
    write_manifest(target, **{key: told[key] for key in ("step", "digest", "revision") if key in told})


def _parameters(export: Path) -> int:
    return sum(weight.numel() for weight in load_export(export).values())
