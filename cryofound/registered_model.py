"""What MLflow loads from the registry: this text, and the model folder beside it. Nothing is pickled."""

from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from cryofound.ensemble.store import read_system, system_folder
from cryofound.manifest import NAME
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.model_folder import read_model_folder
from cryofound.sampling.zero_shot import sample_system


class Request(BaseModel):
    """One ensemble to draw: a system of a store folder, in the canonical frame of its family."""

    store: str
    system_id: str
    seed: int = 0


class ZeroShotModel(PythonModel):
    """Requests in, ensembles out."""

    model: FlowModel

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model folder, whose files are the artifacts."""
        self.model = read_model_folder(Path(context.artifacts[NAME]).parent)

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
