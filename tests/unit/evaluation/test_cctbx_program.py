import importlib.util

import pytest

from cryofound.errors import StructureError
from cryofound.evaluation.cctbx_program import run_program


def test_without_cctbx_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StructureError, match=r"model\.cif: clashes: cctbx is not installed; pip install cctbx-base"):
        run_program("clash_process.py", (), "model.cif: clashes")


def test_a_failing_program_is_one_line_with_its_own_reason(tmp_path):
    missing = tmp_path / "none.cif"
    with pytest.raises(StructureError, match=r"torsions failed with exit code 1: .*none\.cif") as raised:
        run_program("torsion_process.py", (missing, "none"), "torsions")
    assert "\n" not in str(raised.value)
