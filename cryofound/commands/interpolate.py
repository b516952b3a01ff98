"""`cryofound interpolate`: the way between two samples, or two states that a model was trained on, in latent space."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofound.home import default_home

if TYPE_CHECKING:
    import gemmi
    import numpy as np

    from cryofound.ensemble.system import Outline, System
    from cryofound.maps.rigid_transform import RigidTransform
    from cryofound.sampling.flow_model import FlowModel


MOST_NAMED = 24  # systems or states that an error lists


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    way = nouns.add_parser("interpolate", help="a path between two samples or training states, in latent space")
    way.add_argument("folder", type=Path, nargs="?", help="of `cryofound sample`; in its place --system with --model")
    way.add_argument("--system", help="a training system of the model, for a path between its states")
    way.add_argument("--model", help="default: the one that the folder was sampled with")
    way.add_argument("--from", dest="first", required=True, metavar="NAME", help="sample_01, or a state of the system")
    way.add_argument("--to", dest="last", required=True, metavar="NAME", help="likewise")
    way.add_argument("--frames", type=int, default=20, help="models between the two (default: %(default)s)")
    way.add_argument("--home", type=Path, help="of the registered models (default: $CRYOFOUND_HOME)")
    way.add_argument("--out", type=Path, required=True, help="folder to make")
    way.set_defaults(run=interpolate_command)


@dataclass(frozen=True)
class Ends:
    """Two latents (latent voxel, channel) of a system, and how its path is written.

    structure: one model whose atoms have as serials their rows in the system's reference; to_file: brings positions of
    the canonical frame there. mark: a word that the files bear where it is not empty.
    """

    system: "System"
    first: "np.ndarray"
    last: "np.ndarray"
    structure: "gemmi.Structure"
    to_file: "RigidTransform"
    title: str
    mark: str


def interpolate_command(given: argparse.Namespace) -> None:
    """Write path.cif and path.csv, both ends included, or raise a CryoFoundError."""
    import numpy as np

    from cryofound.commands.sample_run import require_new
    from cryofound.errors import RecipeError
    from cryofound.manifest import publishing
    from cryofound.sampling.drawing import decode_latents
    from cryofound.sampling.repair import repair, repair_tables
    from cryofound.structure.stencil import Stencil
    from cryofound.structure.symmetry import find_symmetry

    if given.frames < 1:
        raise RecipeError(f"--frames {given.frames}: must be 1 or more")
    if (given.folder is None) == (given.system is None):
        raise RecipeError("a path between what? give a folder of `cryofound sample`, or --system with --model")
    if given.folder and not given.folder.is_dir():
        raise RecipeError(f"{given.folder}: no such folder; give one that `cryofound sample` wrote")
    require_new(given.out)
    model, ends = _of_samples(given) if given.folder else _of_member(given)
    system = ends.system
    parts = np.linspace(0, 1, given.frames + 2)
    latent = np.stack([(1 - part) * ends.first + part * ends.last for part in parts])
    symmetry = None if system.symmetry == "C1" else find_symmetry(system.reference, system.symmetry)
    tables = repair_tables(system.reference, symmetry)
    decoded = decode_latents(model, system, latent)
    path_xyz, moved = repair(decoded, tables, model.recipe.sampling.repair)
    facts = {"kind": "path", "from": given.first, "to": given.last, "title": ends.title, "forced": bool(ends.mark)}
    with publishing(given.out, resumable=False, **facts) as folder:
        title = f"{ends.mark}. {ends.title}" if ends.mark else ends.title
        frames = (ends.to_file.apply(frame) for frame in path_xyz)
        Stencil.of(ends.structure).write(folder / "path.cif", frames, title, np.zeros(system.reference.n_atoms))
        _write_table(folder / "path.csv", system, path_xyz, parts, moved, ends.mark)
    print(f"out={given.out} models={len(path_xyz)} from={given.first} to={given.last}")


def _of_samples(given: argparse.Namespace) -> tuple["FlowModel", Ends]:
    """Between two samples of a folder; raises a CryoFoundError where it is none, or has changed since."""
    import numpy as np

    from cryofound.commands.sample_files import FORCED, LATENTS
    from cryofound.commands.sample_reference import read_sampled_reference
    from cryofound.commands.sample_run import KIND, SampleRequest, system_of, weights_sha256
    from cryofound.errors import StoreError
    from cryofound.manifest import file_sha256, read_manifest
    from cryofound.registry import load_model
    from cryofound.structure.alignment import superpose

    told = read_manifest(given.folder, check="sizes", way_out="sample again")
    if told.get("kind") != KIND:
        raise StoreError(f"{given.folder}: holds no samples; give a folder of `cryofound sample`")
    request = SampleRequest.of(told["request"])
    latents = np.load(given.folder / LATENTS, mmap_mode="r", allow_pickle=False)
    digits = max(2, len(str(len(latents))))
    names = [f"sample_{number:0{digits}d}" for number in range(1, len(latents) + 1)]
    rows = [_found(name, names, given.folder) for name in (given.first, given.last)]
    reference = read_sampled_reference(request.reference, request.name, chains=request.chains)
    if file_sha256(reference.path) != told["reference"]["sha256"]:
        raise StoreError(f"{reference.path}: has changed since {given.folder} was sampled from it; sample again")
    name = given.model or request.model
    model = load_model(name, (given.home or default_home()).resolve())
    if weights_sha256(model) != told["model_sha256"]:
        raise StoreError(
            f"{given.folder}: was sampled with other weights than those of {name}; give theirs with --model"
        )
    relation, system = system_of(model, reference, request)
    return model, Ends(
        system,
        np.array(latents[rows[0]]),
        np.array(latents[rows[1]]),
        reference.structure,
        superpose(system.reference.positions_xyz, reference.atoms.positions_xyz),
        f"{reference.prediction.name}: path in latent space from {given.first} to {given.last}",
        FORCED if relation.outside else "",
    )


def _of_member(given: argparse.Namespace) -> tuple["FlowModel", Ends]:
    """Between two training states of a system, in the canonical frame of its family."""
    from cryofound.errors import RecipeError, StoreError
    from cryofound.maps.rigid_transform import RigidTransform
    from cryofound.registry import load_model
    from cryofound.structure.writing import numbered_structure

    if given.model is None:
        raise RecipeError(f"--system {given.system}: of which model? give --model")
    model = load_model(given.model, (given.home or default_home()).resolve())
    known = [each.outline.system_id for each in model.members]
    member = model.members[_found(given.system, known, given.model)]
    if member.latents is None:
        raise StoreError(f"{given.model}: keeps no latents of its training states; register the model again")
    states = [state.state_id for state in member.outline.states]
    rows = [_found(name, states, given.system) for name in (given.first, given.last)]
    return model, Ends(
        _system(member.outline),
        member.latents[rows[0]],
        member.latents[rows[1]],
        numbered_structure(member.outline.reference),
        RigidTransform.identity(),
        f"{given.system}: path in latent space from {given.first} to {given.last}",
        "",
    )


def _found(name: str, known: list[str], where: Any) -> int:
    """The place of a name in a list; raises RecipeError with those that there are."""
    from cryofound.errors import RecipeError

    if name not in known:
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        raise RecipeError(f"{where}: has no {name}; there are {', '.join(known[:MOST_NAMED])}{more}")
    return known.index(name)


def _system(outline: "Outline") -> "System":
    """A training system without its maps and its truth."""
    from dataclasses import fields

    import numpy as np

    from cryofound.ensemble.system import Outline, System

    known: dict[str, Any] = {field.name: getattr(outline, field.name) for field in fields(Outline)} | {"states": ()}
    atoms = outline.reference.n_atoms
    return System(**known, truth_xyz=np.zeros((0, atoms, 3), np.float32), truth_mask=np.zeros((0, atoms), bool))


def _write_table(
    path: Path, system: "System", path_xyz: "np.ndarray", parts: "np.ndarray", moved: "np.ndarray", mark: str
) -> None:
    """A row of each frame: how far it is on its way and, over CA, from both ends and from the frame before."""
    import csv

    from cryofound.evaluation.superposition import superposed_rmsd

    ca = path_xyz[:, system.reference.backbone_index()[:, 1]]
    ends = superposed_rmsd(ca, ca[[0, -1]])
    steps = [0.0, *(float(superposed_rmsd(ca[[row]], ca[[row - 1]])[0, 0]) for row in range(1, len(ca)))]
    columns = ["frame", "part", "rmsd_from_first", "rmsd_from_last", "rmsd_from_previous", "repair"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "verdict"] if mark else columns)
        for row, part in enumerate(parts):
            values = (part, ends[row, 0], ends[row, 1], steps[row], moved[row])
            told = [row + 1, *(f"{value:.4g}" for value in values)]
            writer.writerow([*told, mark] if mark else told)
