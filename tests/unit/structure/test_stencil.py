"""A stencil writes what gemmi would, model after model, and holds one of them."""

from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryofound.structure.conformations import read_conformations
from cryofound.structure.stencil import Stencil
from cryofound.structure.writing import write_ensemble
from tests.made_proteins import made_protein


@pytest.fixture
def structure(tmp_path: Path) -> gemmi.Structure:
    """Two chains, one with an insertion code and a name that holds a percent sign; atoms numbered backwards."""
    protein = made_protein(12)
    write_ensemble(tmp_path / "start.cif", protein, protein.positions_xyz[None])
    made = gemmi.read_structure(str(tmp_path / "start.cif"))
    second = made[0].clone()[0]
    second.name = "B%s"
    made[0].add_chain(second)
    made[0][1][3].seqid = gemmi.SeqId(3, "A")
    atoms = [each.atom for each in made[0].all()]
    for row, atom in enumerate(atoms):
        atom.serial = len(atoms) - 1 - row
        atom.aniso = gemmi.SMat33f(0.1, 0.2, 0.3, 0, 0, 0)
    made.info["_struct.title"] = "as it was deposited"
    made.remove_ligands_and_waters()
    return made


def test_models_are_read_back_as_they_were_given(structure: gemmi.Structure, tmp_path: Path):
    stencil = Stencil.of(structure)
    count = len(stencil.order)
    models_xyz = np.random.default_rng(0).uniform(-900, 900, (3, count, 3))
    b_factor = np.linspace(0, 12, count)
    stencil.write(tmp_path / "out.cif", iter(models_xyz), "it's a sample", b_factor)
    back = gemmi.read_structure(str(tmp_path / "out.cif"))
    assert [each.name for each in back] == ["1", "2", "3"]
    assert back.info["_struct.title"] == "it's a sample"
    for model, positions in zip(back, models_xyz, strict=True):
        read = np.array([each.atom.pos.tolist() for each in model.all()])
        assert read == pytest.approx(positions[::-1], abs=6e-4)
        assert [each.atom.b_iso for each in model.all()] == pytest.approx(b_factor[::-1].tolist(), abs=6e-3)
        assert [chain.name for chain in model] == ["A", "B%s"]
        assert str(model[1][3].seqid) == "3A"
    own = [(each.chain.name, str(each.residue.seqid), each.residue.name, each.atom.name) for each in structure[0].all()]
    assert [(e.chain.name, str(e.residue.seqid), e.residue.name, e.atom.name) for e in back[0].all()] == own
    text = (tmp_path / "out.cif").read_text()
    assert "deposited" not in text
    assert "anisotrop" not in text
    assert text.count("\nATOM ") == 3 * count
    assert len(list(read_conformations(tmp_path / "out.cif", ["A"]))) == 3


def test_nothing_is_left_where_writing_was_stopped(structure: gemmi.Structure, tmp_path: Path):
    def stopped():
        yield np.zeros((10_000, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stencil.of(structure).write(tmp_path / "out.cif", stopped(), "", np.zeros(10_000))
    assert not (tmp_path / "out.cif").exists()
