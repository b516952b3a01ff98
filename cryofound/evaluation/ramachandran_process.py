"""Official Ramachandran outliers, as a program of its own: `ramachandran_process.py MODELS.npz ANSWER.json`.

It must import neither gemmi nor torch nor anything of ours that does (see stereochemistry.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false

import json
import sys
from pathlib import Path

import iotbx.pdb
import numpy as np
from iotbx.pdb import hierarchy
from mmtbx.validation.ramalyze import ramalyze
from scitbx.array_family import flex

BACKBONE = ("N", "CA", "C", "O")


def main(models: Path, answer: Path) -> None:
    """Read backbone_xyz (model, residue, 4, 3), residue_name, chain_id (residue,); write [outliers, evaluated] each."""
    with np.load(models) as arrays:
        backbone_xyz = arrays["backbone_xyz"]
        residue_names = [str(name) for name in arrays["residue_name"]]
        chain_ids = [str(name) for name in arrays["chain_id"]]
    root = backbone_hierarchy(residue_names, chain_ids)
    counts = []
    for positions_xyz in backbone_xyz:
        root.atoms().set_xyz(flex.vec3_double(np.ascontiguousarray(positions_xyz.reshape(-1, 3))))
        result = ramalyze(pdb_hierarchy=root, outliers_only=True)
        counts.append([result.n_outliers, result.n_total])
    answer.write_text(json.dumps(counts))


def backbone_hierarchy(residue_names: list[str], chain_ids: list[str]):
    """A cctbx hierarchy of N, CA, C, O per residue; residues are numbered through, so that none passes for another."""
    root = hierarchy.root()
    model = hierarchy.model()
    root.append_model(model)
    chain = None
    for number, (name, chain_id) in enumerate(zip(residue_names, chain_ids, strict=True), start=1):
        if chain is None or chain.id != chain_id:
            chain = hierarchy.chain(id=chain_id)
            model.append_chain(chain)
        residue = hierarchy.residue_group(resseq=iotbx.pdb.resseq_encode(number))
        group = hierarchy.atom_group(altloc="", resname=name)
        for atom_name in BACKBONE:
            atom = hierarchy.atom()
            atom.name = f" {atom_name:<3}"
            atom.element = f" {atom_name[0]}"
            atom.occ = 1.0
            group.append_atom(atom)
        residue.append_atom_group(group)
        chain.append_residue_group(residue)
    root.atoms().reset_i_seq()
    return root


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
