"""What MLflow loads from the registry: this text, and the two exports beside it. Nothing is pickled."""

from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from cryofound.config import Recipe, validated
from cryofound.ensemble.store import read_system, system_folder
from cryofound.sampling.zero_shot import FlowModel, load_flow_model, sample_system
from cryofound.training.checkpoints import load_export_config


class Request(BaseModel):
    """One ensemble to draw: a system of a store folder, in the canonical frame of its family."""

    store: str
    system_id: str
    seed: int = 0


class ZeroShotModel(PythonModel):
    """Requests in, ensembles out."""

    model: FlowModel

    def load_context(self, context: PythonModelContext) -> None:
        """Build the networks from the exports of stage 1 and stage 2."""
        stage1, stage2 = Path(context.artifacts["stage1"]), Path(context.artifacts["stage2"])
        config = load_export_config(stage2)
        recipe = validated(config["recipe"], Recipe, f"{stage2}: its recipe")
        self.model = load_flow_model(recipe, config["training_ids"], stage1, stage2)

    # MLflow's own method has no types and returns nothing; it reads ours to check requests before they come here
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: PythonModelContext, model_input: list[Request]
    ) -> list[np.ndarray]:
        """For each request an array (sample, atom, 3) float32, angstrom."""
        return [
            sample_system(self.model, read_system(system_folder(Path(each.store), each.system_id)), each.seed)
            for each in model_input
        ]


set_model(ZeroShotModel())
