"""Running Boltz: its input, what it misses, what it costs; the run itself is tested in tests/jobs/test_predict.py."""

from pathlib import Path

import pytest
import yaml

from cryofound.errors import SourceError, StructureError
from cryofound.reference.runner import (
    BoltzOptions,
    PredictionJob,
    boltz_input,
    cache_folder,
    chain_names,
    cost,
    predict,
)
from cryofound.reference.sequences import ProteinChain, chains_of

CHAINS = chains_of({"alpha": "MKTAYIAK", "beta": "GSHW"}, {"alpha": 2})


def made_cache(folder: Path, *names: str) -> Path:
    """A cache of empty files, which is enough to start boltz."""
    (folder / "mols").mkdir(parents=True)
    for name in ("mols.tar", "boltz2_conf.ckpt", "boltz2_aff.ckpt", *names):
        (folder / name).touch()
    return folder


def test_input_names_each_protein_once_with_its_chains(tmp_path: Path) -> None:
    (tmp_path / "beta.a3m").touch()
    told = yaml.safe_load(boltz_input(PredictionJob("x", CHAINS, {"beta": tmp_path / "beta.a3m"})))
    assert told == {
        "version": 1,
        "sequences": [
            {"protein": {"id": ["A", "B"], "sequence": "MKTAYIAK", "msa": "empty"}},
            {"protein": {"id": ["C"], "sequence": "GSHW", "msa": str(tmp_path / "beta.a3m")}},
        ],
    }


def test_chains_keep_their_names_and_the_others_get_free_ones() -> None:
    assert chain_names([ProteinChain("x", "MKT"), ProteinChain("x", "MKT", "A"), ProteinChain("x", "MKT")]) == [
        "B", "A", "C",
    ]  # fmt: skip
    assert chain_names([ProteinChain("x", "MKT")] * 28)[-3:] == ["Z", "AA", "AB"]


def test_method_and_embeddings_are_always_asked_for() -> None:
    arguments = BoltzOptions(samples=5).arguments()
    assert arguments[arguments.index("--method") + 1] == "electron microscopy"
    assert arguments[arguments.index("--diffusion_samples") + 1] == "5"
    assert "--write_embeddings" in arguments
    assert "--no_kernels" not in arguments
    assert "--no_kernels" in BoltzOptions(accelerator="cpu").arguments()


def test_missing_weights_are_named_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOLTZ_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    (tmp_path / "mols.tar").touch()
    with pytest.raises(SourceError) as error:
        predict(PredictionJob("x", CHAINS), tmp_path / "out")
    told = str(error.value)
    assert told.startswith(f"{tmp_path}: holds no mols, no boltz2_conf.ckpt, no boltz2_aff.ckpt; put")
    assert "BOLTZ_CACHE" in told
    assert "\n" not in told
    assert not list(tmp_path.glob("out*"))


def test_missing_alignment(tmp_path: Path) -> None:
    job = PredictionJob("x", CHAINS, {"beta": tmp_path / "none.a3m"}, cache=made_cache(tmp_path / "cache"))
    with pytest.raises(SourceError, match=r"none\.a3m: no such file; give the alignment of beta"):
        predict(job, tmp_path / "out")


# What boltz leaves behind when a batch does not fit: the input as it understood it, and code 0.
OUT_OF_MEMORY = """
for last; do :; done
mkdir -p $last/boltz_results_x/processed $last/boltz_results_x/predictions
echo '{"records": [{"id": "x"}]}' > $last/boltz_results_x/processed/manifest.json
echo '| WARNING: ran out of memory, skipping batch'
"""


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo Traceback; echo RuntimeError: it broke >&2; exit 3", r"boltz ended with code 3: RuntimeError: it broke"),
        ("exit 3", r"boltz ended with code 3: it said nothing"),
        (OUT_OF_MEMORY, r"predictions/x: missing, though boltz_results_x lists it: boltz skips what it has no memory"),
        ("true", r"boltz_results_x: no such folder"),
    ],
)
def test_a_failed_run_leaves_its_log_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    boltz = tmp_path / "bin" / "boltz"
    boltz.parent.mkdir()
    boltz.write_text(f"#!/bin/sh\n{script}\n")
    boltz.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(boltz.with_name("python")))
    job = PredictionJob("x", CHAINS, cache=made_cache(tmp_path / "cache"))
    with pytest.raises(StructureError, match=told) as error:
        predict(job, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial" / "boltz.log").is_file()


def test_memory_grows_with_pairs_of_tokens() -> None:
    small, large = cost(1000), cost(2000)
    fixed = cost(0)
    assert large.gpu - fixed.gpu == 4 * (small.gpu - fixed.gpu)
    assert large.machine - fixed.machine == 4 * (small.machine - fixed.machine)
    assert small.machine - fixed.machine >= 2 * 1000**2 * 128 * 4  # z, and the copy that is written
