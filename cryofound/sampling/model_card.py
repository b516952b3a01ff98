"""The model card: what a model was made from, how good it was where it could be tested, and what it is not for."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cryofound.config import Recipe, Section
from cryofound.ensemble.store import checked_systems, open_system, read_outline, read_provenance, system_folder
from cryofound.manifest import read_manifest
from cryofound.revision import environment

NOT_STATED = "not stated"
_SHOWN = 20  # systems named in a line of the text
_MEASURED = "map"  # the kind of a state in an entry that is no simulation

Scores = Mapping[str, Mapping[str, float]]


class SystemFacts(Section):
    """One system of the store. `states` counts those that training saw, by kind; resolutions are in angstrom."""

    system_id: str
    family: str
    split: Literal["train", "held_out"]
    anchor: bool
    title: str | None
    residues: int
    atoms: int
    symmetry: str
    box_size: int
    states: dict[str, int]
    resolutions: tuple[float, ...]
    licence: str | None
    citation: str | None
    identity: str | None


class ModelCard(Section):
    """All that a card says; `scores` by held-out system are angstrom, as evaluation/scores.py names them."""

    schema_version: int
    name: str
    systems: tuple[SystemFacts, ...]
    store: str
    voxel_size: float
    box_sizes: tuple[int, ...]
    parameters: dict[str, int]
    revisions: dict[str, str]
    environment: dict[str, str]
    scores: dict[str, dict[str, float]]
    limits: tuple[str, ...]

    def families(self, split: Literal["train", "held_out"]) -> dict[str, list[str]]:
        """System ids by family, both sorted."""
        found = defaultdict(list)
        for system in self.systems:
            if system.split == split:
                found[system.family].append(system.system_id)
        return {family: sorted(found[family]) for family in sorted(found)}

    def licences(self) -> dict[str, list[str]]:
        """Ids of the systems under each licence of data."""
        found = defaultdict(list)
        for system in self.systems:
            found[system.licence or NOT_STATED].append(system.system_id)
        return {licence: sorted(found[licence]) for licence in sorted(found)}


def model_card(
    recipe: Recipe,
    store: Path,
    *,
    schema_version: int,
    parameters: Mapping[str, int],
    revisions: Mapping[str, str],
    scores: Scores,
) -> ModelCard:
    """The card of a model that was trained on a store; raises StoreError where the store is damaged."""
    systems = tuple(_facts(system_folder(store, name)) for name in checked_systems(store))
    libraries = {name: value for name, value in environment().items() if name != "host"}
    return ModelCard(
        schema_version=schema_version,
        name=recipe.tracking.registered_model,
        systems=systems,
        store=read_manifest(store, check=False)["digest"],
        voxel_size=recipe.grid.voxel_size,
        box_sizes=recipe.grid.box_sizes,
        parameters=dict(parameters),
        revisions=dict(revisions),
        environment=libraries,
        scores={name: dict(row) for name, row in scores.items()},
        limits=tuple(_limits(systems, recipe, scores)),
    )


def card_tags(card: ModelCard) -> dict[str, str]:
    """What a list of models can be searched by."""
    known = card.families("train")
    return {
        "schema": str(card.schema_version),
        "families": ", ".join(known),
        "systems": str(sum(map(len, known.values()))),
        "held_out": str(sum(map(len, card.families("held_out").values()))),
        "store": card.store,
        "licences": ", ".join(card.licences()),
        **{f"revision.{name}": value for name, value in card.revisions.items()},
    }


def card_text(card: ModelCard) -> str:
    """The card in Markdown: what matters to a user first."""
    known, held_out = card.families("train"), card.families("held_out")
    lines = [
        f"# {card.name}",
        "",
        f"Ensembles of proteins without maps, for {_count(len(known), 'family', 'families')} learnt from "
        f"{_count(sum(map(len, known.values())), 'system', 'systems')}.",
        "",
        "## What it must not be used for",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
        "## How good it was on systems that it had not seen",
        "",
        *_score_lines(card),
        "",
        "## What it was trained on",
        "",
        *_table(
            ["family", "trained on", "held out"],
            [
                [family, _named(known.get(family, [])), _named(held_out.get(family, []))]
                for family in sorted({*known, *held_out})
            ],
        ),
        "",
        f"Store {card.store}, voxels of {card.voxel_size:g} A, boxes of {', '.join(map(str, card.box_sizes))} voxels.",
        "",
        *_table(["licence of the data", "systems"], [[key, _named(names)] for key, names in card.licences().items()]),
        "",
        "## How it was made",
        "",
        f"Parameters: {_pairs(card.parameters)}. Revisions: {_pairs(card.revisions)}. "
        f"Environment: {_pairs(card.environment)}. Schema {card.schema_version}.",
    ]
    return "\n".join(lines) + "\n"


def _facts(folder: Path) -> SystemFacts:
    outline, told = read_outline(open_system(folder)), read_provenance(folder)
    entry: dict[str, Any] = told.get("entry", {})  # a store that was written without an ingest has none
    kinds = {state["state_id"]: state["kind"] for state in entry.get("states", [])}
    seen = [state for state in outline.states if outline.split == state.split == "train"]
    return SystemFacts(
        system_id=outline.system_id,
        family=outline.family,
        split=outline.split,
        anchor=told.get("anchor") == outline.system_id,
        title=entry.get("title"),
        residues=outline.reference.n_residues,
        atoms=outline.reference.n_atoms,
        symmetry=outline.symmetry,
        box_size=outline.grid.shape_zyx[0],
        states=dict(Counter(kinds.get(state.state_id, NOT_STATED) for state in seen)),
        resolutions=tuple(sorted({state.resolution for state in seen})),
        licence=entry.get("licence"),
        citation=entry.get("citation"),
        identity=told.get("identity"),
    )


def _limits(systems: Sequence[SystemFacts], recipe: Recipe, scores: Scores) -> Iterable[str]:
    """What the model must not be used for, in sentences that follow from what it was made of."""
    trained = [system for system in systems if system.split == "train"]
    by_family = Counter(system.family for system in trained)
    yield (
        f"Proteins of families other than {', '.join(sorted(by_family))}: it knows nothing of how they move, and "
        "`cryofound sample` refuses them unless it is forced."
    )
    alone = sorted(family for family, count in by_family.items() if count == 1)
    if alone:
        yield f"Trust without a test in relatives of the one system that it knows of {', '.join(alone)}."
    yield "Nucleic acids, ligands, lipids, sugars and ions: they are not moved, only protein atoms are."
    yield (
        "Populations, energies, rates: how often a conformation is drawn says nothing of how often a protein takes it."
    )
    resolutions = [value for system in trained for value in system.resolutions]
    if resolutions:
        yield (
            f"Detail that its maps, of {min(resolutions):g} to {max(resolutions):g} A, do not show: side chains and "
            "binding sites follow the backbone."
        )
    simulated = [system for system in trained if set(system.states) - {_MEASURED}]
    if simulated:
        yield (
            f"Claims about measured maps: {len(simulated)} of {len(trained)} systems were trained on maps that were "
            "simulated, at least in part, from atoms."
        )
    yield f"Proteins that do not fit into {max(recipe.grid.box_sizes) * recipe.grid.voxel_size:g} A."
    if not scores:
        yield "Anything that needs a known error: no system with known states was held out, so none was measured."
    unknown = sorted(system.system_id for system in systems if not system.licence)
    if unknown:
        yield f"Passing on without asking: the licence of the data of {_named(unknown)} is not stated."
    yield "Decisions that no experiment checks, on patients above all."


def _score_lines(card: ModelCard) -> list[str]:
    """Each held-out system beside the baselines, where its true states are known."""
    if not card.scores:
        return ["Not measured."]
    columns = {"recall_rmsd": "closest sample", "static_rmsd": "reference", "normal_modes_rmsd": "normal modes"}
    family = {system.system_id: system.family for system in card.systems}
    rows = [
        [name, family.get(name, ""), *(f"{row[key]:.2f}" if key in row else "-" for key in columns)]
        for name, row in sorted(card.scores.items())
    ]
    means = {key: [row[key] for row in card.scores.values() if key in row] for key in columns}
    rows.append(["mean", "", *(f"{np.mean(values):.2f}" if values else "-" for values in means.values())])
    return ["RMSD to their true states in angstrom:", "", *_table(["system", "family", *columns.values()], rows)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _named(names: Sequence[str]) -> str:
    """Names in a line, the first ones if they are many."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest or "-"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
