"""Verdicts of cctbx ramalyze and rotalyze, as a program of its own: `agreement_process.py CHEM_DATA.tar.xz JOB.json`.

It must import neither gemmi nor torch nor anything of ours that does: cctbx crashes beside them (see agreement.py).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false

import contextlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import iotbx.pdb
import libtbx.load_env
from iotbx.pdb import hierarchy
from mmtbx.command_line import rebuild_rotarama_cache
from mmtbx.validation.ramalyze import ramalyze
from mmtbx.validation.rotalyze import rotalyze

CLASSES = {"OUTLIER": 0, "Allowed": 1, "Favored": 2}


def main(archive: Path, job: Path) -> None:
    """Read a JSON list of structure files from `job`; write over it the rows of ramalyze and of rotalyze for each.

    A row is chain, number, CA position in 0.001 A, residue name, verdict on the first conformation: 1 for an outlier of
    ramalyze, else 0; a value of CLASSES for rotalyze.
    """
    with tempfile.TemporaryDirectory(prefix="cryofound-chem-data-") as folder:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        libtbx.env.repository_paths.append(libtbx.env.as_relocatable_path(folder))
        with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
            rebuild_rotarama_cache.run()
        roots = [first_model(name) for name in json.loads(job.read_text())]
        # rotalyze reads its tables and all restraints anew at every call, which takes seconds: one call for all.
        together = hierarchy.root()
        for row, root in enumerate(roots):
            model = root.only_model().detached_copy()
            model.id = str(row)
            together.append_model(model)
        together.reset_atom_i_seqs()
        rotamers = [[] for _ in roots]
        for each in rotalyze(pdb_hierarchy=together, quiet=True).results:
            rotamers[int(each.model_id)].append((each, CLASSES[each.evaluation]))
    answer = []
    for root, side_chains in zip(roots, rotamers, strict=True):
        backbone = ramalyze(pdb_hierarchy=root, quiet=True).results
        alpha = alpha_carbons(root)
        answer.append([rows([(each, int(each.is_outlier())) for each in backbone], alpha), rows(side_chains, alpha)])
    job.write_text(json.dumps(answer))


def first_model(path: str):
    """The hierarchy of the first model of a file, without segment names: cctbx would take them for chain names."""
    root = iotbx.pdb.input(path).construct_hierarchy()
    for model in root.models()[1:]:
        root.remove_model(model)
    for atom in root.atoms():
        atom.segid = ""
    return root


def alpha_carbons(root) -> dict[tuple[str, str, str], list[int]]:
    """CA position in 0.001 A by chain, number and insertion code."""
    found = {}
    for chain in root.chains():
        for group in chain.residue_groups():
            for atom in group.atoms():
                if atom.name == " CA ":  # calcium is "CA  "
                    place = [round(1000 * each) for each in atom.xyz]
                    found.setdefault((chain.id, group.resseq, group.icode), place)
    return found


def rows(judged: list, alpha: dict[tuple[str, str, str], list[int]]) -> list[list]:
    """One row for each residue with a CA, from its first verdict."""
    first = {}
    for each, verdict in judged:
        key = (each.chain_id, each.resseq, each.icode)
        if key in alpha:
            first.setdefault(key, [key[0].strip(), int(key[1]), alpha[key], each.resname.strip(), verdict])
    return list(first.values())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
