"""A build's folder read back: tables joined to the right residues, and morphs with whatever names their atoms have."""

from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.errors import StructureError
from cryofound.report.build_report import read_build_report
from tests.made_builds import FRAMES, SHIFT, made_build


def rewritten(path: Path, change) -> None:
    """A structure file with every model changed."""
    structure = gemmi.read_structure(str(path))
    for model in structure:
        change(model)
    structure.make_mmcif_document().write_file(str(path))


def test_a_morph_is_read_as_it_was_written(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out")
    report = read_build_report(tmp_path / "out", maps, facts)
    assert report.morph_xyz is not None
    along = report.morph_xyz - report.states[0].model.positions_xyz
    assert along.mean(1)[:, 0] == pytest.approx(np.linspace(0, SHIFT, FRAMES + 2), abs=1e-3)
    assert np.abs(along[:, :, 1:]).max() < 1e-3


def test_names_that_cif_puts_in_quotes_do_not_shift_the_columns(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out")
    before = read_build_report(tmp_path / "out", maps, facts).morph_xyz

    def rename(model: gemmi.Model) -> None:
        model[0].name = "A 'B"
        model[0][0][0].name = "C1'"

    for name in ("one.cif", "two.cif", "morph.cif"):
        rewritten(tmp_path / "out" / name, rename)
    table = tmp_path / "out" / "residues.csv"
    table.write_text(table.read_text().replace(",A,", ",A 'B,"))
    after = read_build_report(tmp_path / "out", maps, facts).morph_xyz
    assert before is not None
    assert after is not None
    assert np.abs(after - before).max() < 1e-3


def test_a_morph_of_other_atoms_is_refused(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out")
    rewritten(tmp_path / "out" / "morph.cif", lambda model: model.remove_chain(model[0].name))
    with pytest.raises(StructureError, match=r"morph.cif: its atoms are not those of one.cif"):
        read_build_report(tmp_path / "out", maps, facts)


def test_residues_of_one_number_take_their_displacements_in_turn(tmp_path: Path):
    maps, facts = made_build(tmp_path / "out", ("alone",))

    def renumber(model: gemmi.Model) -> None:
        model[0][4].seqid = gemmi.SeqId(4, "A")  # 4 and 4A

    rewritten(tmp_path / "out" / "alone.cif", renumber)
    residues, moves = tmp_path / "out" / "residues.csv", tmp_path / "out" / "displacements.csv"
    residues.write_text(residues.read_text().replace("alone,A,5,,", "alone,A,4,A,"))
    moves.write_text(
        moves.read_text().replace("alone,A,4,0.000", "alone,A,4,1.000").replace("alone,A,5,0.000", "alone,A,4,2.000")
    )
    found = read_build_report(tmp_path / "out", maps, facts).states[0].displacement
    assert found[3:6].tolist() == [1.0, 2.0, 0.0]
    assert np.isnan(found[-1])  # the zinc ion
