"""`cryofound morph`: the straight way from one structure to another, with sound geometry at every step."""

import argparse
from pathlib import Path
from typing import Any


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    morph = nouns.add_parser("morph", help="a path between two structures of one protein, or of relatives")
    morph.add_argument("first", metavar="FIRST[:CHAINS]", help="structure whose chains and numbers the path has")
    morph.add_argument(
        "second", metavar="SECOND[:CHAINS]", help="structure that it goes to, laid on the first by what differs least"
    )
    morph.add_argument("--frames", type=int, default=20, help="models between the two (default: %(default)s)")
    morph.add_argument("--out", type=Path, required=True, help="mmCIF file to write")
    morph.set_defaults(run=morph_command)


def morph_command(given: argparse.Namespace) -> None:
    """Write the path as the models of one mmCIF, both ends included, or raise a CryoFoundError."""
    import numpy as np

    from cryofound.building.fitting import subject
    from cryofound.building.morph import morph
    from cryofound.commands.evaluate import file_and_chains
    from cryofound.commands.sample_reference import read_sampled_reference, with_atoms
    from cryofound.config import BuildConfig
    from cryofound.disk import make_parent, room_for
    from cryofound.errors import RecipeError, StoreError
    from cryofound.evaluation.sample_file import same_atoms
    from cryofound.structure.alignment import superpose_core
    from cryofound.structure.stencil import Stencil

    if given.frames < 1:
        raise RecipeError(f"--frames {given.frames}: must be 1 or more")
    if given.out.exists():
        raise StoreError(f"{given.out}: is there already; name another file with --out, or delete it")
    make_parent(given.out)
    named = [file_and_chains(text) for text in (given.first, given.second)]
    first, second = (read_sampled_reference(path, chains=chains) for path, chains in named)
    for each in (first, second):
        for note in each.notes:
            print(f"note: {each.path.name}: {note}")
    pairs = same_atoms(first.atoms, second.atoms, f"{first.path} and {second.path}")
    start = with_atoms(first, pairs[:, 0])
    other_xyz = second.atoms.positions_xyz[pairs[:, 1]]
    ca = start.atoms.backbone_index()[:, 1]
    transform = superpose_core(other_xyz[ca], start.atoms.positions_xyz[ca]).transform
    end_xyz = transform.apply(other_xyz).astype(np.float32)
    path_xyz = morph([start.atoms.positions_xyz, end_xyz], subject(start.atoms, BuildConfig()), given.frames)
    title = f"morph from {first.path.name} to {second.path.name}"
    with room_for("the morph", given.out.parent):
        Stencil.of(start.structure).write(given.out, path_xyz, title, np.zeros(start.atoms.n_atoms))
    moved = np.linalg.norm(end_xyz[ca] - start.atoms.positions_xyz[ca], axis=1)
    print(
        f"out={given.out} models={len(path_xyz)} residues={start.atoms.n_residues} "
        f"left_out={first.atoms.n_residues - start.atoms.n_residues} "
        f"ca_rmsd={np.sqrt((moved**2).mean()):.2f} farthest={moved.max():.2f}"
    )
