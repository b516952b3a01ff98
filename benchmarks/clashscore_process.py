"""MolProbity's clashscore by cctbx, as a program of its own: `clashscore_process.py LIBRARY MODEL.cif ANSWER.json`.

LIBRARY holds the folder chem_data. It must import neither gemmi nor torch (see cryofound/evaluation/stereochemistry.py,
which runs another such program).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import os
import sys
from pathlib import Path

import libtbx.load_env

libtbx.env.add_repository(sys.argv[1])  # cctbx looks for its data while it is being imported

from iotbx.cli_parser import CCTBXParser  # noqa: E402 (see above)
from libtbx.utils import null_out  # noqa: E402
from mmtbx.programs import clashscore2 as program  # noqa: E402
from mmtbx.validation.clashscore2 import clashscore2  # noqa: E402


def main(model: Path, answer: Path) -> None:
    """Place hydrogens in a model as reduce2 does and write its clashscore and its number of clashes."""
    parser = CCTBXParser(program_class=program.Program, logger=null_out())
    parser.parse_args([str(model)])
    result = clashscore2(parser.working_phil.extract().probe, parser.data_manager, keep_hydrogens=False, out=null_out())
    aside = answer.with_suffix(".part")
    aside.write_text(json.dumps({"clashscore": result.get_clashscore(), "clashes": len(result.results)}))
    os.replace(aside, answer)


if __name__ == "__main__":
    main(Path(sys.argv[2]), Path(sys.argv[3]))
