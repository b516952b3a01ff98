"""`boltz predict` for a complex: its input, its cache, its cost, and the proof that it finished."""

import importlib.metadata
import os
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from cryofound.config import Section, digest
from cryofound.errors import SourceError, StructureError
from cryofound.manifest import is_finished, publishing, read_manifest
from cryofound.reference.boltz import read_boltz
from cryofound.reference.prediction import Prediction
from cryofound.reference.sequences import ProteinChain, check_chains

# boltz asks for the affinity weights as well, and for nothing but that the file is there.
WEIGHTS = ("mols.tar", "mols", "boltz2_conf.ckpt", "boltz2_aff.ckpt")
METHOD = "electron microscopy"


def cache_folder() -> Path:
    """Where boltz looks for its weights: $BOLTZ_CACHE, else ~/.boltz."""
    return Path(os.environ.get("BOLTZ_CACHE") or Path.home() / ".boltz").expanduser().resolve()


class BoltzOptions(Section):
    """How `boltz predict` is run."""

    samples: int = Field(default=1, ge=1, description="models, each with its own confidence")
    sampling_steps: int = Field(default=200, ge=1)
    recycling_steps: int = Field(default=3, ge=0)
    seed: int = 0
    accelerator: Literal["gpu", "cpu"] = "gpu"

    def arguments(self) -> list[str]:
        """Of the command line."""
        values = {
            "--diffusion_samples": self.samples,
            "--sampling_steps": self.sampling_steps,
            "--recycling_steps": self.recycling_steps,
            "--seed": self.seed,
            "--accelerator": self.accelerator,
            "--method": METHOD,
            "--preprocessing-threads": 1,
            "--num_workers": 0,
        }
        flags = ["--write_embeddings"] + (["--no_kernels"] if self.accelerator == "cpu" else [])
        return [*flags, *(str(part) for pair in values.items() for part in pair)]


@dataclass(frozen=True)
class PredictionJob:
    """One complex to predict.

    Its name, its chains in order, the alignment (.a3m or .csv) of each protein that has one, and where the weights lie.
    """

    name: str
    chains: tuple[ProteinChain, ...]
    alignments: Mapping[str, Path] = field(default_factory=dict)
    options: BoltzOptions = field(default_factory=BoltzOptions)
    cache: Path = field(default_factory=cache_folder)

    @property
    def tokens(self) -> int:
        return sum(len(chain.sequence) for chain in self.chains)


def check_installed(cache: Path) -> None:
    """Raise SourceError, in one line, if boltz or a file that it would download is not there."""
    if _boltz() is None:
        raise SourceError("boltz is not installed; install it with: pip install 'cryofound[boltz]'")
    missing = [name for name in WEIGHTS if not (cache / name).exists()]
    if missing:
        raise SourceError(
            f"{cache}: holds no {', no '.join(missing)}; put Boltz-2's files there (from "
            "huggingface.co/boltz-community/boltz-2), or name the folder that has them in BOLTZ_CACHE"
        )


def boltz_input(job: PredictionJob) -> str:
    """The YAML that `boltz predict` reads: every protein once, with the names of its chains and its alignment."""
    proteins: dict[str, dict[str, Any]] = {}
    for name, chain in zip(chain_names(job.chains), job.chains, strict=True):
        alignment = job.alignments.get(chain.protein)
        msa = "empty" if alignment is None else str(Path(alignment).resolve())
        entry = proteins.setdefault(chain.protein, {"id": [], "sequence": chain.sequence, "msa": msa})
        entry["id"].append(name)
    return yaml.safe_dump(
        {"version": 1, "sequences": [{"protein": each} for each in proteins.values()]}, sort_keys=False
    )


def chain_names(chains: Sequence[ProteinChain]) -> list[str]:
    """The chains' own names; A, B, ... Z, AA, AB, ... for those without."""
    own = {chain.chain_id for chain in chains}
    letters = string.ascii_uppercase
    free = (name for name in (*letters, *map("".join, product(letters, letters))) if name not in own)
    return [chain.chain_id or next(free) for chain in chains]


@dataclass(frozen=True)
class Cost:
    """Memory that a prediction needs, in bytes, of the GPU and of the machine."""

    gpu: int
    machine: int


def cost(tokens: int) -> Cost:
    """What `boltz predict` is asked memory for, by the tokens of a complex: its pairs of tokens outweigh all else.

    An estimate with room to spare, never measured: weights, and twelve copies of `z` on the GPU, four off it.
    """
    pairs = tokens**2 * 128 * 4  # z in float32
    return Cost(gpu=6 * 2**30 + 12 * pairs, machine=12 * 2**30 + 4 * pairs)


def predict(job: PredictionJob, folder: Path) -> Prediction:
    """Run `boltz predict` for a complex into `folder`, which appears when the prediction is whole and was checked.

    A finished folder of the same job is read and not made again. Raises SourceError if weights or alignments are
    missing, StructureError if the folder is another job's or boltz did not finish; its words are in `boltz.log`.
    """
    folder = Path(folder)
    identity = digest("boltz", boltz_input(job), job.options)
    if is_finished(folder):
        made = read_manifest(folder, check=False).get("digest")
        if made != identity:
            raise StructureError(
                f"{folder}: holds a prediction of other inputs ({made}, not {identity}); give another --out"
            )
        return _checked(job, folder)
    check_installed(job.cache)
    for protein, path in job.alignments.items():
        if not Path(path).is_file():
            raise SourceError(f"{path}: no such file; give the alignment of {protein} as .a3m or .csv, or leave it out")
    version = importlib.metadata.version("boltz")
    with publishing(
        folder, step="reference", digest=identity, boltz=version, options=job.options.model_dump()
    ) as partial:
        results = partial / f"boltz_results_{job.name}"
        if results.exists():  # boltz would take up an interrupted run's half-written files as they are
            shutil.rmtree(results)
        written = partial / f"{job.name}.yaml"
        written.write_text(boltz_input(job))
        places = ["--cache", str(job.cache), "--out_dir", str(partial)]
        _run(["predict", str(written), *job.options.arguments(), *places], partial / "boltz.log")
        _checked(job, partial)
    return _checked(job, folder)


def _checked(job: PredictionJob, folder: Path) -> Prediction:
    prediction = read_boltz(folder / f"boltz_results_{job.name}", samples="all")
    check_chains(prediction, job.chains)
    prediction.residue_embedding()
    return prediction


def _run(arguments: list[str], log: Path) -> None:
    """`boltz <arguments>`, its words to a file; raises StructureError with its last line if it fails outright."""
    with log.open("w") as stream:
        code = subprocess.run([_boltz() or "boltz", *arguments], stdout=stream, stderr=stream, check=False).returncode
    if code:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise StructureError(f"{log}: boltz ended with code {code}: {said[-1].strip() if said else 'it said nothing'}")


def _boltz() -> str | None:
    """The command, of this environment first."""
    return shutil.which("boltz", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
