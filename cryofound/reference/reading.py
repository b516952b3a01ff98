"""A reference from whatever path a user has: a Boltz folder, an AlphaFold model, a structure file."""

from pathlib import Path
from typing import Literal

from cryofound.errors import StructureError
from cryofound.reference.alphafold import read_structure_file
from cryofound.reference.boltz import is_boltz, read_boltz
from cryofound.reference.prediction import Prediction

STRUCTURE_SUFFIXES = (".cif", ".pdb", ".ent", ".cif.gz", ".pdb.gz", ".ent.gz")


def read_reference(path: Path, name: str | None = None, samples: Literal["best", "all"] = "best") -> Prediction:
    """The prediction in a file or folder; `name` chooses one of several in a Boltz folder, `samples` its models.

    Raises StructureError with one line that names what is missing or wrong and the way out.
    """
    path = Path(path)
    if path.is_file():
        return read_structure_file(path)
    if not path.is_dir() and not is_boltz(path):
        raise StructureError(f"{path}: no such file or folder; give a Boltz folder, or a .cif or .pdb file")
    if is_boltz(path):
        return read_boltz(path, name, samples)
    files = [each for each in sorted(path.iterdir()) if each.name.endswith(STRUCTURE_SUFFIXES)]
    if len(files) != 1:
        raise StructureError(
            f"{path}: holds no output of boltz and {len(files)} structure files; give boltz_results_<stem>, or one file"
        )
    return read_structure_file(files[0])
