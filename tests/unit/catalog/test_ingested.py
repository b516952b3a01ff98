"""What is read back of a store is what the store's own writer wrote."""

from pathlib import Path

import numpy as np
import pytest

from cryofound.catalog.ingested import ingested_in
from cryofound.ensemble.store import system_folder
from cryofound.ensemble.system import State, System
from cryofound.ensemble.writing import write_system
from cryofound.errors import StoreError
from cryofound.maps.density_map import Grid
from tests.made_proteins import made_protein


def test_a_store_says_what_it_was_made_from(tmp_path: Path) -> None:
    model = made_protein(20)
    states = (State("a", 1.0, 4.0, "train"), State("b", 2.0, 4.0, "validation"))
    system = System(
        "one", "made", "train", model, np.zeros(20, np.float32), states, np.zeros((2, model.n_atoms, 3), np.float32),
        np.ones((2, model.n_atoms), dtype=bool), Grid.centred(16, 2.0),
    )  # fmt: skip
    provenance = {"entry": {"system_id": "one"}, "anchor": "one", "sha256": {"here:a.mrc": "0" * 64}}
    store = tmp_path / "store-1"
    write_system(system_folder(store, "one"), system, np.zeros((2, 16, 16, 16), np.float32), provenance)
    (found,) = ingested_in(store)
    assert (found.system_id, found.store, found.states) == ("one", store, 2)
    assert (found.entry, found.inputs) == (provenance["entry"], provenance["sha256"])
    # What a killed ingest leaves is not there; what is damaged is said.
    system_folder(store, "two.partial").mkdir()
    assert len(list(ingested_in(store))) == 1
    (system_folder(store, "one") / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"systems/one: damaged"):
        list(ingested_in(store))
