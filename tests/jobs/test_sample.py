"""The sampling job: a list on Ray, skipped when finished, and what is refused told at the end in a line each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cryofound.errors import RecipeError
from cryofound.manifest import is_finished, read_manifest
from cryofound.structure.writing import write_ensemble
from jobs.sample import listed, main
from tests.made_models import made_home, made_relative
from tests.made_proteins import made_protein


def test_a_table_names_files_beside_it(tmp_path: Path):
    (tmp_path / "list.csv").write_text("reference,name,fasta,id\na.cif,,own.fasta,\nboltz_results_b,,,\nc,d,,e\n")
    found = listed(tmp_path / "list.csv")
    assert [(each.reference.name, each.name, each.id) for each in found] == [
        ("a.cif", None, "a"), ("boltz_results_b", None, "b"), ("c", "d", "e"),
    ]  # fmt: skip
    assert found[0].fasta == tmp_path / "own.fasta"
    assert found[1].fasta is None


def test_a_folder_stands_for_its_structures_and_predictions(tmp_path: Path):
    for name in ("one.cif", "two.pdb.gz", "notes.txt"):
        (tmp_path / name).touch()
    for name in ("p", "q"):
        (tmp_path / "boltz_results_set" / "predictions" / name).mkdir(parents=True)
    assert [each.id for each in listed(tmp_path)] == ["p", "q", "one", "two"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file\na.cif\n", "its columns are file; write reference, name, fasta, id"),
        ("reference\n", "lists no reference"),
        ("reference\na/x.cif\nb/x.cif\n", "would both be written to x"),
        (None, "cannot be read as CSV"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path: Path, text: str | None, reason: str):
    if text is not None:
        (tmp_path / "list.csv").write_text(text)
    with pytest.raises(RecipeError, match=reason) as raised:
        listed(tmp_path / "list.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_head")
def test_a_list_is_sampled_and_what_is_refused_does_not_keep_the_others(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    home = made_home(tmp_path / "home")
    references = {"near": made_relative(), "away": made_relative(), "stranger": made_protein(60, seed=11)}
    for name, model in references.items():
        write_ensemble(tmp_path / f"{name}.cif", model, model.positions_xyz[None])
    (tmp_path / "list.csv").write_text("reference\nnear.cif\nstranger.cif\naway.cif\nmissing.cif\n")
    asked = ["--model", str(home), "--references", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out")]
    program = subprocess.run(  # as users do: what is defined in a program is sent to workers otherwise than a module's
        [sys.executable, str(repository / "jobs" / "sample.py"), *asked, "--n", "2"],
        env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert program.returncode == 1, program.stderr
    assert [is_finished(tmp_path / "out" / name) for name in ("near", "away", "stranger")] == [True, True, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["away", "near"]
    lines = program.stderr.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: missing: ")
    assert "no trained family is related" in lines[1]

    before = read_manifest(tmp_path / "out" / "near")
    (tmp_path / "list.csv").write_text("reference\nnear.cif\naway.cif\n")
    assert main([*asked, "--n", "2"]) == 0
    assert capsys.readouterr().out.count("skipped=finished") == 2
    assert read_manifest(tmp_path / "out" / "near") == before
    assert main([*asked, "--n", "3"]) == 1
    assert "was sampled otherwise" in capsys.readouterr().err
    assert main([*asked, "--n", "0"]) == 1
    assert capsys.readouterr().err == "error: --n 0: must be 1 or more\n"
