"""Verdicts of cctbx on backbones and side chains, a program of its own: `torsion_process.py MODEL.cif LIBRARY
ANSWER.json`, LIBRARY a folder that holds chem_data, or `none`.

It must import neither gemmi nor torch nor anything of ours that does (see cctbx_program.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import sys
from pathlib import Path

import libtbx.load_env

LIBRARY = sys.argv[2]
if LIBRARY != "none":
    libtbx.env.add_repository(LIBRARY)  # cctbx looks for its data while it is being imported

import iotbx.pdb  # noqa: E402 (see above)
from iotbx.pdb.hybrid_36 import hy36decode  # noqa: E402
from mmtbx.validation.cbetadev import cbetadev  # noqa: E402
from mmtbx.validation.ramalyze import ramalyze  # noqa: E402
from mmtbx.validation.rotalyze import rotalyze  # noqa: E402


def main(model: Path, answer: Path) -> None:
    """Write `rama`, `rota` (null without a library) and `cbeta`.

    Each has its numbers of outliers, favoured ones and all, and rows of [chain, number, insertion, name, verdict].
    """
    hierarchy = iotbx.pdb.input(file_name=str(model)).construct_hierarchy()
    rama = ramalyze(pdb_hierarchy=hierarchy, quiet=True)
    cbeta = cbetadev(pdb_hierarchy=hierarchy, quiet=True)
    told = {
        "rama": {**counts(rama), "rows": rows(rama, lambda each: each.ramalyze_type())},
        "rota": None,
        "cbeta": {
            "outliers": cbeta.n_outliers,
            "all": len(cbeta.results),
            "rows": rows(cbeta, lambda each: each.deviation),
        },
    }
    if LIBRARY != "none":
        rota = rotalyze(pdb_hierarchy=hierarchy, quiet=True)
        told["rota"] = {**counts(rota), "rows": rows(rota, lambda each: each.evaluation)}
    answer.write_text(json.dumps(told))


def counts(judged) -> dict[str, int]:
    """Outliers, favoured and all of ramalyze or rotalyze."""
    return {"outliers": judged.n_outliers, "favored": judged.n_favored, "all": judged.n_total}


def rows(judged, verdict) -> list[list]:
    """One row for every result; a residue with alternative conformations has several."""
    return [
        [each.chain_id.strip(), hy36decode(4, each.resseq), each.icode.strip(), each.resname.strip(), verdict(each)]
        for each in judged.results
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[3]))
