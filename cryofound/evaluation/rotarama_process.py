"""The rotamer tables of a monomer library in the form cctbx reads fast: `rotarama_process.py LIBRARY ANSWER.json`.

It must import neither gemmi nor torch nor anything of ours that does (see cctbx_program.py, which runs it).
"""

# cctbx fills its modules from C++ at import, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false

import contextlib
import os
import sys
from pathlib import Path

import libtbx.load_env

libtbx.env.add_repository(sys.argv[1])  # cctbx looks for its data while it is being imported

from mmtbx.command_line import rebuild_rotarama_cache  # noqa: E402 (see above)


def main(answer: Path) -> None:
    """Rebuild the tables beside their text in the library."""
    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        rebuild_rotarama_cache.run()
    answer.write_text("null")


if __name__ == "__main__":
    main(Path(sys.argv[2]))
