"""Clashes of a model by cctbx, a program of its own: `clash_process.py MODEL.cif LIBRARY ANSWER.json`, LIBRARY a folder
that holds chem_data.

It must import neither gemmi nor torch nor anything of ours that does (see cctbx_program.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import sys
from pathlib import Path

import libtbx.load_env

libtbx.env.add_repository(sys.argv[2])  # cctbx looks for its data while it is being imported

from iotbx.cli_parser import CCTBXParser  # noqa: E402 (see above)
from iotbx.pdb.hybrid_36 import hy36decode  # noqa: E402
from libtbx.utils import null_out  # noqa: E402
from mmtbx.programs import clashscore2 as program  # noqa: E402
from mmtbx.validation.clashscore2 import clashscore2  # noqa: E402


def main(model: Path, answer: Path) -> None:
    """Place hydrogens as reduce2 does; write the clashscore and, for each clash, its two residues."""
    parser = CCTBXParser(program_class=program.Program, logger=null_out())
    parser.parse_args([str(model)])
    found = clashscore2(parser.working_phil.extract().probe, parser.data_manager, keep_hydrogens=False, out=null_out())
    clashes = [[residue(atom) for atom in clash.atoms_info] for clash in found.results]
    answer.write_text(json.dumps({"clashscore": found.get_clashscore(), "clashes": clashes}))


def residue(atom) -> list:
    """[chain, number, insertion, name] of an atom."""
    return [atom.chain_id.strip(), hy36decode(4, atom.resseq), atom.icode.strip(), atom.resname.strip()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[3]))
