"""What MLflow loads from the registry: this text, and the two exports beside it. Nothing is pickled."""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from cryofound.config import Recipe
from cryofound.ensemble.store import read_system, system_folder
from cryofound.sampling.zero_shot import FlowModel, load_flow_model, sample_system
from cryofound.training.checkpoints import load_export_config


class ZeroShotModel(PythonModel):
    """Rows of (store folder, system id, seed) in, ensembles out."""

    model: FlowModel

    def load_context(self, context: PythonModelContext) -> None:
        """Build the networks from the exports of stage 1 and stage 2."""
        stage1, stage2 = Path(context.artifacts["stage1"]), Path(context.artifacts["stage2"])
        config = load_export_config(stage2)
        recipe = Recipe.model_validate(config["recipe"])
        self.model = load_flow_model(recipe, config["training_ids"], stage1, stage2)

    def predict(self, context: PythonModelContext, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """For each row with columns `store`, `system_id` and `seed` an array (sample, atom, 3) float32, angstrom."""
        ensembles: list[np.ndarray] = []
        for row in model_input.to_dict("records"):
            system = read_system(system_folder(Path(row["store"]), row["system_id"]))
            ensembles.append(sample_system(self.model, system, int(row["seed"])))
        return ensembles


set_model(ZeroShotModel())
