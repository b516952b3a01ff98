"""What a model remembers of its training systems: by them a newcomer finds its family and its motion is judged."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cryofound.config import Recipe
from cryofound.ensemble.store import (
    open_system,
    read_array,
    read_density,
    read_provenance,
    read_system,
    system_folder,
)
from cryofound.ensemble.system import Outline, State, System
from cryofound.errors import StoreError
from cryofound.manifest import publishing, read_manifest
from cryofound.maps.density_map import Grid
from cryofound.models.vae import VAE
from cryofound.structure.atomic_model import AtomicModel
from cryofound.training.checkpoints import load_export_config, load_weights
from cryofound.training.molecules import molecule_batch, reference_density
from cryofound.training.stage1 import build_vae

SCHEMA = 1
ARRAYS, FACTS = "members.safetensors", "members.json"
_CORE = "placement/core"
_MODEL_ARRAYS = [field.name for field in fields(AtomicModel) if field.name != "chain_id"]


@dataclass(frozen=True)
class Member:
    """One training system, in the canonical frame of its family, without its maps and without any truth.

    displacements (state, atom, 3) float32, angstrom: the motion from the reference that the VAE decodes at the mean
    latent of each training state, in the order of `outline.states`, which has only those. residual (width,) float32:
    its row of the VAE's residuals. anchor: whether `family_position` counts the residues of this system. core
    (residue,) bool: the part by which the family is superposed, `placement/core` of the store. latents (state, latent
    voxel, channel) float32: those mean latents, for paths between the states; None where they were not kept.
    """

    outline: Outline
    displacements: np.ndarray
    residual: np.ndarray
    anchor: bool
    core: np.ndarray
    latents: np.ndarray | None = None


def members_of(recipe: Recipe, store: Path, stage1: Path) -> tuple[Member, ...]:
    """The training systems of a finished stage 1, in the order of its residuals; `store` is the one it learnt from.

    Raises StoreError where the export or a system of the store is missing or damaged.
    """
    training_ids = load_export_config(stage1)["training_ids"]
    vae = build_vae(recipe, len(training_ids))
    load_weights(vae, stage1)
    vae.eval()
    return tuple(_member(recipe, vae, system_folder(store, name), row) for row, name in enumerate(training_ids))


def write_members(folder: Path, members: Sequence[Member]) -> None:
    """Publish members as a folder of safetensors and JSON with a manifest, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    facts = []
    for member in members:
        outline = member.outline
        own = {
            **{f"reference/{name}": getattr(outline.reference, name) for name in _MODEL_ARRAYS},
            "family_position": outline.family_position,
            **{name: getattr(member, name) for name in ("displacements", "residual", "core")},
            **({} if member.latents is None else {"latents": member.latents}),
        }
        arrays |= {f"{outline.system_id}/{name}": np.ascontiguousarray(values) for name, values in own.items()}
        facts.append(
            {
                "system_id": outline.system_id,
                "family": outline.family,
                "anchor": member.anchor,
                "symmetry": outline.symmetry,
                "grid": asdict(outline.grid),
                "states": [asdict(state) for state in outline.states],
                "chain_id": outline.reference.chain_id.tolist(),
            }
        )
    with publishing(folder, kind="members", schema=SCHEMA) as partial:
        save_file(arrays, partial / ARRAYS)
        (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def read_members(folder: Path) -> tuple[Member, ...]:
    """The inverse of `write_members`; raises StoreError naming what is missing, changed or of another schema."""
    schema = read_manifest(folder).get("schema")
    if schema != SCHEMA:
        raise StoreError(f"{folder}: members of schema {schema}, this program reads {SCHEMA}; register the model again")
    try:
        arrays = load_file(folder / ARRAYS)
    except SafetensorError as error:
        raise StoreError(f"{folder / ARRAYS}: no safetensors ({error}); register the model again") from None
    return tuple(_read(facts, arrays) for facts in json.loads((folder / FACTS).read_text()))


@torch.no_grad()
def _member(recipe: Recipe, vae: VAE, folder: Path, row: int) -> Member:
    system = read_system(folder)
    known = [number for number, state in enumerate(system.states) if state.split == "train"]
    group = open_system(folder)
    # a store that was written without an ingest has no core: then every residue counts
    core = read_array(group, _CORE) if _CORE in group else np.ones(system.reference.n_residues, bool)
    displacements, latents = _decoded(recipe, vae, system, row, folder, known)
    return Member(
        outline=replace(system.outline, states=tuple(system.states[number] for number in known)),
        displacements=displacements,
        residual=vae.system_residual.weight[row].numpy().copy(),
        anchor=read_provenance(folder).get("anchor") == system.system_id,
        core=core,
        latents=latents,
    )


def _decoded(
    recipe: Recipe, vae: VAE, system: System, row: int, folder: Path, states: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The maps of some states encoded as for stage 2, and decoded, one at a time.

    (state, atom, 3) float32 angstrom, and (state, latent voxel, channel) float32.
    """
    molecule = molecule_batch([system], [row], recipe.model)
    tokens = vae.tokens(molecule, system.grid.shape_zyx[0])
    reference = reference_density(molecule, [system], [system.states[0].resolution])
    decoded = np.zeros((len(states), system.reference.n_atoms, 3), dtype=np.float32)
    latents = np.zeros((len(states), tokens.mask.shape[1], recipe.model.latent_channels), dtype=np.float32)
    for number, state in enumerate(states):
        mean, _ = vae.encode(torch.from_numpy(read_density(folder, state))[None].float(), reference, tokens)
        latent = mean * tokens.mask[..., None]
        decoded[number] = vae.decode(latent, molecule, tokens)[0].numpy()
        latents[number] = latent[0].numpy()
    return decoded, latents


def _read(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Member:
    name = facts["system_id"]
    grid = facts["grid"]
    reference = AtomicModel(
        **{field: arrays[f"{name}/reference/{field}"] for field in _MODEL_ARRAYS}, chain_id=np.array(facts["chain_id"])
    )
    outline = Outline(
        system_id=name,
        family=facts["family"],
        split="train",
        reference=reference,
        family_position=arrays[f"{name}/family_position"],
        states=tuple(State(**state) for state in facts["states"]),
        grid=Grid(tuple(grid["shape_zyx"]), grid["voxel_size"], tuple(grid["origin_xyz"])),
        symmetry=facts["symmetry"],
    )
    per_member = {key: arrays[f"{name}/{key}"] for key in ("displacements", "residual", "core")}
    return Member(outline=outline, anchor=facts["anchor"], latents=arrays.get(f"{name}/latents"), **per_member)
