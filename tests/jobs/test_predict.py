"""A prediction as a Ray task, by the real `boltz predict` with a random model."""

from pathlib import Path

import pytest

from cryofound.errors import StructureError
from cryofound.reference.boltz import read_boltz
from cryofound.reference.runner import BoltzOptions, PredictionJob, cost
from cryofound.reference.sequences import ProteinChain
from jobs.predict import GIB, main, resources
from tests.tiny_boltz import SEQUENCES


def job(residues: int, accelerator: str = "gpu") -> PredictionJob:
    chains = (ProteinChain("x", "A" * residues),)
    return PredictionJob("x", chains, options=BoltzOptions.model_validate({"accelerator": accelerator}))


def test_more_tokens_ask_for_more() -> None:
    small, large = resources(job(200), 80), resources(job(2000), 80)
    assert small["num_gpus"] == 0.25
    assert small["num_gpus"] < large["num_gpus"] <= 1
    assert small["memory"] < large["memory"] == cost(2000).machine
    assert resources(job(200), 24)["num_gpus"] > 0.25
    for tokens in (200, 1000, 2000):
        assert resources(job(tokens), 80)["num_gpus"] * 80 * GIB >= cost(tokens).gpu
    assert resources(job(200, "cpu"), 80)["num_gpus"] == 0
    assert resources(job(200), 80, 1.5)["memory"] == 1.5 * GIB


def test_too_large_for_a_gpu_gives_both_numbers() -> None:
    with pytest.raises(StructureError, match=r"x: 2000 tokens need about 29 GiB of GPU memory, --gpu-gib says 24"):
        resources(job(2000), 24)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_head")
def test_from_sequences_to_a_checked_folder_and_again(
    boltz_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOLTZ_CACHE", str(boltz_cache))
    fasta = tmp_path / "made.fasta"
    fasta.write_text("".join(f">{name}\n{letters}\n" for name, letters in SEQUENCES.items()))
    small = "--stoichiometry hinge=2 --accelerator cpu --sampling-steps 2 --recycling-steps 0 --samples 2"
    command = ["--sequences", str(fasta), *small.split(), "--memory-gib", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capfd.readouterr().out
    assert "predict=made tokens=28 num_cpus=1" in printed
    assert "made: boltz-2, 2 models, 28 residues, 28 tokens, embeddings written" in printed
    prediction = read_boltz(tmp_path / "out" / "boltz_results_made")
    assert prediction.tokens.chains == ("A", "B", "C")
    assert prediction.residue_embedding().shape[0] == 28

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == written
    capfd.readouterr()
    assert main([*command, "--seed", "1"]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "holds a prediction of other inputs" in line
