"""An entry's reference in the frame of its maps, and what its predictor said of it."""

from pathlib import Path
from typing import Any

import numpy as np

from cryofound.catalog.entry import CatalogEntry, MapState
from cryofound.catalog.loading import load_structure, source_file
from cryofound.errors import StructureError
from cryofound.maps.mrc import read_map
from cryofound.maps.preprocessing import preprocess
from cryofound.reference.alphafold import read_structure_file
from cryofound.reference.boltz import is_boltz, read_boltz
from cryofound.reference.prediction import Prediction
from cryofound.reference.registration import register
from cryofound.reference.stored import provenance, stored_arrays
from cryofound.structure.atomic_model import AtomicModel
from data_pipeline.inputs import reference_path

# Steps that need the model where it is not known yet are left out of the map that it is looked for in.
_NEED_MODEL = ("zone", "box", "normalise")


def registered(entry: CatalogEntry, own: AtomicModel, cache: Path) -> tuple[AtomicModel, dict[str, Any]]:
    """The reference in the frame of the entry's maps, and how it came there: as it is if it lies there already.

    An undocked one is looked for in the first map that training may see, after those preprocessing steps that need no
    model; maps with fitted models need no such search. Raises StructureError where it has no clear place, or the map
    has the wrong hand.
    """
    maps = [state for state in entry.states if isinstance(state, MapState) and state.fitted_model is None]
    maps.sort(key=lambda state: state.split)
    if entry.reference.placement == "docked" or not maps:
        return own, {}
    state = maps[0]
    steps = [step for step in entry.preprocessing if step.kind not in _NEED_MODEL]
    density, _ = preprocess(read_map(source_file(entry, state.source, state.file, cache)), steps)
    found = register(own, density, resolution=state.resolution)
    if found.mirrored:
        raise StructureError(f"{state.state_id}: {found.advice}")
    facts = {
        "state": state.state_id,
        "how": found.how,
        "score": found.score,
        "runner_up": found.runner_up,
        "mirrored_score": found.mirrored_score,
        "rotation": found.transform.rotation.tolist(),
        "shift": found.transform.shift.tolist(),
    }
    return own.moved(found.transform.apply(own.positions_xyz)), facts


def fitted_model(entry: CatalogEntry, state: MapState, own: AtomicModel, cache: Path) -> AtomicModel | None:
    """The model that was deposited with a map, in the map's frame; None if the entry names none."""
    return None if state.fitted_model is None else load_structure(entry, state.fitted_model, own, cache)


def prediction_of(entry: CatalogEntry, own: AtomicModel, cache: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What the predictor said of the reference, rows as the residues of `own`, and where it came from.

    Both empty for an experimental structure. Raises StructureError for a prediction that is not whole.
    """
    prediction, number = _prediction(entry, reference_path(entry, cache))
    if prediction is None:
        return {}, {}
    atoms = prediction.models[number].atoms
    known = zip(atoms.chain_id.tolist(), atoms.residue_number.tolist(), strict=True)
    places = {key: row for row, key in enumerate(known)}
    wanted = zip(own.chain_id.tolist(), own.residue_number.tolist(), strict=True)
    rows = np.array([places[key] for key in wanted])
    arrays = {
        name: values[np.ix_(rows, rows)] if name == "pae" else values[rows]
        for name, values in stored_arrays(prediction, number).items()
    }
    return arrays, provenance(prediction, number)


def _prediction(entry: CatalogEntry, path: Path) -> tuple[Prediction | None, int]:
    if entry.reference.method in (None, "experiment"):
        return None, 0
    if is_boltz(path.parent):
        prediction = read_boltz(path.parent, samples="all")
        return prediction, [model.path.name for model in prediction.models].index(path.name)
    prediction = read_structure_file(path)
    return (prediction, 0) if prediction.program == "alphafold" else (None, 0)
