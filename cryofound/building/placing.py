"""Whether a reference lies in the maps as it was given, and where it is brought if it does not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from cryofound.building.deposit import read_reference_file
from cryofound.building.models import BuildRequest
from cryofound.errors import CryoFoundError, MapError, StructureError
from cryofound.evaluation.map_model import OUTSIDE
from cryofound.manifest import publishing
from cryofound.maps.density_map import DensityMap
from cryofound.maps.masks import voxels_zyx
from cryofound.maps.mrc import read_map
from cryofound.maps.rigid_transform import RigidTransform
from cryofound.reference.poses import MIN_RESIDUES, body_of, levels_of
from cryofound.reference.reading import read_reference
from cryofound.reference.registration import register
from cryofound.reference.rigid_fit import solvent_at_zero
from cryofound.structure.atomic_model import AtomicModel
from cryofound.structure.files import open_numbered

Placing = Literal["auto", "always", "never"]
TURNS = 20
# In zone NCC. References of shared/data, as far from their maps as 7 A in conformation, are ahead of their best turn by
# 0.11 to 0.50, turned by 15 degrees by 0.07 or more; in wrong places by 0.012 at most.
MARGIN = 0.05


@dataclass(frozen=True)
class Lie:
    """How a model lies in a map: outside, the share of its atoms beyond the map; ncc, the `zone_ncc` at the coarse
    resolution (angstrom) at which poses are searched; turned, the best of TURNS rotations by chance about its centre.
    """

    outside: float
    resolution: float
    ncc: float
    turned: float

    @property
    def fits(self) -> bool:
        """Whether the model lies in the map, near enough for a build to bring it all the way."""
        return self.outside <= OUTSIDE and self.ncc - self.turned >= MARGIN

    @property
    def told(self) -> str:
        """The same in words, for a message."""
        if self.outside > OUTSIDE:
            return f"{100 * self.outside:.0f} % of its atoms lie outside the map"
        return f"it correlates {self.ncc:.3f} at {self.resolution:.1f} A, turned by chance up to {self.turned:.3f}"


def lie(model: AtomicModel, density: DensityMap, resolution: float) -> Lie:
    """How a model lies in a map of a resolution in angstrom; raises StructureError for fewer than MIN_RESIDUES residues
    and MapError for a constant map."""
    place = voxels_zyx(density.grid, model.positions_xyz)
    outside = ((place < -0.5) | (place > np.array(density.grid.shape_zyx) - 0.5)).any(axis=1).mean()
    body = body_of(model)
    coarse = levels_of(body, solvent_at_zero(density), resolution)[0]
    turns = Rotation.random(TURNS, random_state=np.random.default_rng(0)).as_matrix()
    about = [RigidTransform(turn, body.centre - turn @ body.centre) for turn in turns]
    given, *turned = (coarse.score(body, each) for each in (RigidTransform.identity(), *about))
    return Lie(float(outside), coarse.resolution, given, max(turned))


@dataclass(frozen=True)
class Laid:
    """The motion that brought a reference into the frame of its maps, and what is recorded of how it was found."""

    transform: RigidTransform
    facts: Mapping[str, Any]


def lay(
    model: AtomicModel,
    name: str,
    maps: Iterable[tuple[str, DensityMap, float]],
    placing: Placing,
    report: Callable[[str], None] = print,
) -> Laid | None:
    """The motion that brings a model, called `name` in messages, into the frame of its maps; None if it stays.

    `maps` are (name, map, resolution in angstrom) of one series, read as they are needed. auto: the model stays if it
    `fits` one of them, else it is searched for in the first; always: it is searched for, from where it is as well;
    never: it stays. Raises StructureError, one line, for a model that has no clear place there, and for a map of the
    wrong hand.
    """
    if placing == "never" or (placing == "auto" and model.n_residues < MIN_RESIDUES):
        return None
    first, given = None, None
    for where, density, resolution in maps:
        first = first or (where, density, resolution)
        if placing == "always":
            break
        try:
            found = lie(model, density, resolution)
        except MapError as error:
            raise MapError(f"{where}: {error}") from None
        if found.fits:
            report(
                f"registration=kept map={where} ncc={found.ncc:.3f} turned={found.turned:.3f} "
                f"resolution={found.resolution:.1f}"
            )
            return None
        given = given or found
    assert first is not None, "a series has a map"
    where, density, resolution = first
    if given is not None:
        report(f"registration=searching map={where}: {name} does not lie there: {given.told}")
    try:
        best = register(model, density, resolution=resolution)
    except CryoFoundError as error:
        way_out = "; if it does lie there, give --register never" if given and given.outside <= OUTSIDE else ""
        told = f"as given, {given.told}; searched for, " if given else ""
        raise type(error)(f"{name} lies nowhere in {where}: {told}{error}{way_out}") from None
    if best.advice:
        raise StructureError(f"{where}: {best.advice}")
    moved = best.transform.apply(model.positions_xyz) - model.positions_xyz
    by = float(np.sqrt((moved**2).sum(1).mean()))
    report(f"registration=found map={where} how={best.how} ncc={best.score:.3f} moved={by:.1f}")
    facts = {
        "map": where,
        "how": best.how,
        "ncc": best.score,
        "resolution": resolution,
        "runner_up": best.runner_up,
        "mirrored": best.mirrored_score,
        "rotation": best.transform.rotation.tolist(),
        "shift": best.transform.shift.tolist(),
    }
    return Laid(best.transform, facts)


def laid_request(
    request: BuildRequest, placing: Placing, folder: Path, report: Callable[[str], None] = print
) -> BuildRequest:
    """The request as it is, or with a reference that `lay` brought into the maps and that is written to `folder`."""
    path = read_reference(request.reference).best.path
    model = read_reference_file(path, request.chains).model
    maps = ((state.path.name, read_map(state.path), state.resolution) for state in request.states)
    laid = lay(model, path.name, maps, placing, report)
    if laid is None:
        return request
    structure = open_numbered(path, 0)
    move_all(structure, laid.transform)
    name = path.name.split(".")[0] + ".cif"
    with publishing(folder, source=str(path), registration=laid.facts) as aside:
        write_reference(structure, aside / name)
    origin = {**request.origin, "source": str(path), "registration": laid.facts}
    return replace(request, reference=folder / name, prediction=request.reference, origin=origin)


def move_all(structure: gemmi.Structure, transform: RigidTransform) -> None:
    """Move every atom of a structure's first model, in place."""
    for each in structure[0].all():
        each.atom.pos = gemmi.Position(*transform.apply(np.array(each.atom.pos.tolist())))


def write_reference(structure: gemmi.Structure, out: Path) -> None:
    """Write a structure as mmCIF with its own chain names and numbers."""
    structure.remove_empty_chains()
    structure.setup_entities()
    structure.assign_serial_numbers()
    structure.make_mmcif_document().write_file(str(out))
