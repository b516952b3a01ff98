"""Single structure files as predictions: AlphaFold models with their predicted aligned error, and plain structures."""

from pathlib import Path

import gemmi
import numpy as np

from cryofound.errors import StructureError
from cryofound.manifest import file_sha256
from cryofound.reference.confidence import Confidence, check_pae, read_json
from cryofound.reference.prediction import PredictedModel, Prediction
from cryofound.reference.tokens import residue_tokens
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.files import open_structure
from cryofound.structure.reading import read_complex

PAE_KEYS = ("predicted_aligned_error", "pae")  # of the AlphaFold database, of ColabFold


def read_structure_file(path: Path, pae: Path | None = None) -> Prediction:
    """The one model of a PDB or mmCIF file; `pae` is found beside a file of the AlphaFold database by its name.

    B-factors count as pLDDT only where the file says that they are, in its title or its quality metric. Raises
    StructureError if the file cannot be used, or the aligned error is another model's.
    """
    path = Path(path)
    structure = open_structure(path)
    atoms = read_complex(path)
    pae = pae or _pae_beside(path)
    told = dict(structure.info).get("_struct.title", "")
    of_alphafold = "ALPHAFOLD" in told.upper() or path.name.startswith("AF-")
    confidence = None
    if of_alphafold or _states_plddt(path):
        confidence = Confidence(_b_factors(structure, atoms) / 100, None if pae is None else _read_pae(pae, atoms))
        if not ((confidence.plddt >= 0) & (confidence.plddt <= 1)).all():
            raise StructureError(
                f"{path}: B-factors are not from 0 to 100, so they are no pLDDT; give the predictor's file"
            )
    elif pae is not None:
        raise StructureError(f"{path}: is no predicted model, but {pae} was given as its predicted aligned error")
    files = [path] if pae is None else [path, pae]
    return Prediction(
        name=path.name.split(".")[0],
        program="alphafold" if of_alphafold else "structure",
        folder=path.parent,
        models=(PredictedModel(path, 0, atoms, confidence),),
        tokens=residue_tokens(atoms),
        embeddings=None,
        files={each.name: file_sha256(each) for each in files},
    )


def _pae_beside(path: Path) -> Path | None:
    if "-model_" not in path.name:
        return None
    beside = path.with_name(path.name.split(".")[0].replace("-model_", "-predicted_aligned_error_") + ".json")
    return beside if beside.is_file() else None


def _states_plddt(path: Path) -> bool:
    """Whether an mmCIF file has pLDDT among its quality metrics (ModelCIF)."""
    if ".cif" not in path.suffixes:
        return False
    block = gemmi.cif.read(str(path))[0]
    return any("plddt" in name.lower() for name in block.find_values("_ma_qa_metric.name"))


def _b_factors(structure: gemmi.Structure, atoms: AtomicModel) -> np.ndarray:
    """(residue,) float32 B-factor of each residue's CA."""
    of = {(chain.name or "A", residue.seqid.num): residue for chain in structure[0] for residue in chain}
    keys = zip(atoms.chain_id.tolist(), atoms.residue_number.tolist(), strict=True)
    return np.array([of[key]["CA"][0].b_iso for key in keys], dtype=np.float32)


def _read_pae(path: Path, atoms: AtomicModel) -> np.ndarray:
    """(residue, residue) float32 angstrom."""
    told = read_json(path)
    told = told[0] if isinstance(told, list) and len(told) == 1 else told
    rows = next((told[key] for key in PAE_KEYS if key in told), None) if isinstance(told, dict) else None
    if rows is None:
        raise StructureError(f"{path}: holds no {' or '.join(PAE_KEYS)}; give the file that belongs to the model")
    try:
        pae = np.array(rows, dtype=np.float32)
    except (ValueError, TypeError):
        raise StructureError(
            f"{path}: the predicted aligned error is no matrix of numbers; download it again"
        ) from None
    check_pae(path, pae, atoms.n_residues)
    return pae
